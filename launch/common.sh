# shellcheck shell=bash
# What the launch scripts share. They source it after setting `options` (--name=value) and `switches` (--name), and a
# variable with a default for each, called like it (with _ for -).
set -euo pipefail
: "${options?}" "${switches?}" "${module?}"

program=()     # what followed "--": the program's flags, untouched
environment=() # NAME=VALUE of --env-file and of every --env; values may be secret and are never shown
workdir=''     # see find_workdir
scratch=''     # see make_scratch

fail() { # one sentence [exit status]
  printf 'error: %s\n' "$1" >&2
  exit "${2:-2}"
}

say() {
  printf '%s: %s\n' "$(basename "$0")" "$1" >&2
}

usage() { # the comment at the head of the script, up to the first line that is none
  sed -n -e '1d' -e '/^#/!q' -e 's/^# \{0,1\}//p' "$0"
}

parse() { # the script's arguments
  local option
  while (($#)); do
    option=${1%%=*}
    option=${option#--}
    case $1 in
      --help | -h)
        usage
        exit 0
        ;;
      --)
        shift
        program=("$@")
        return
        ;;
      --*)
        if [[ " $switches " == *" $option "* && $1 == "--$option" ]]; then
          printf -v "${option//-/_}" 1
        elif [[ " $options " != *" $option "* ]]; then
          fail "unknown option '$1'; see --help (flags of the program stand after '--')"
        elif [[ $1 != --*=?* ]]; then
          fail "--$option needs a value: --$option=VALUE"
        elif [[ $option == env ]]; then
          [[ $1 =~ ^--env=[A-Za-z_][A-Za-z0-9_]*= ]] || fail "--env=${1#--env=} is not --env=NAME=VALUE"
          environment+=("${1#--env=}")
        else
          printf -v "${option//-/_}" %s "${1#*=}"
        fi
        ;;
      *) fail "unexpected argument '$1'; see --help (flags of the program stand after '--')" ;;
    esac
    shift
  done
}

require() { # options that must have a value
  local option variable
  for option; do
    variable=${option//-/_}
    [[ -n ${!variable} ]] || fail "--$option=... is missing; see --help"
  done
}

require_counts() { # options that must be positive whole numbers
  local option variable
  for option; do
    variable=${option//-/_}
    [[ ${!variable} =~ ^[1-9][0-9]*$ ]] || fail "--$option=${!variable} is no positive whole number"
  done
}

require_program() { # flags for the program, without which nothing is worth starting
  ((${#program[@]})) || fail "nothing for the program: its flags stand after '--'; see --help"
}

find_workdir() { # of the program's flags, into `workdir`
  local flag next=''
  for flag in "${program[@]}"; do
    [[ -z $next ]] || workdir=$flag
    next=''
    case $flag in
      --workdir=*) workdir=${flag#--workdir=} ;;
      --workdir) next=1 ;;
    esac
  done
}

require_bucket() { # for the program's --workdir: every machine must see it, and it must outlive them
  find_workdir
  [[ -z $workdir || $workdir == gs://* ]] ||
    fail "--workdir=$workdir is lost with the machine, and no other one sees it; take a bucket: --workdir=gs://..."
}

make_scratch() { # a folder that nobody else reads and that ends with the script
  if [[ -n $dry_run ]]; then
    scratch=${TMPDIR:-/tmp}/smarttrim
  elif [[ -z $scratch ]]; then
    scratch=$(mktemp -d "${TMPDIR:-/tmp}/smarttrim.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
  fi
}

read_env_file() { # lines NAME=VALUE, NAME (its value here) or # comment, before what --env gave
  local line number=0 from_file=()
  [[ -n $env_file ]] || return 0
  [[ -r $env_file && -f $env_file ]] || fail "--env-file=$env_file cannot be read"
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    line=${line%$'\r'}
    if [[ $line =~ ^[A-Za-z_][A-Za-z0-9_]*= ]]; then
      from_file+=("$line")
    elif [[ $line =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]]; then
      [[ -n ${!line+set} ]] || fail "line $number of $env_file names $line, which is not set here; write $line=VALUE"
      from_file+=("$line=${!line}")
    elif [[ $line =~ [^[:space:]] && ! $line =~ ^[[:space:]]*# ]]; then
      fail "line $number of $env_file is neither NAME=VALUE nor NAME nor a # comment"
    fi
  done <"$env_file"
  environment=(${from_file[@]+"${from_file[@]}"} ${environment[@]+"${environment[@]}"})
}

write_environment() { # into $scratch/environment, each by the command $1 of NAME and VALUE; a dry run shows the names
  local each
  make_scratch
  [[ -n $dry_run ]] || install -m 600 /dev/null "$scratch/environment"
  for each in "${environment[@]}"; do
    [[ $each != *$'\n'* ]] || fail "the value of ${each%%=*} has a line break"
    if [[ -n $dry_run ]]; then
      printf '# %s/environment: %s=***\n' "$scratch" "${each%%=*}"
    else
      "$1" "${each%%=*}" "${each#*=}" >>"$scratch/environment"
    fi
  done
}

devices_of() { # the type of a TPU slice: how many devices JAX finds on it
  local size=${1##*-}
  case $1 in
    v6e-*x* | v5litepod-*x* | v5p-*x* | v4-*x*) echo $((${size//x/*})) ;;
    v6e-* | v5litepod-* | v3-* | v2-*) echo "$size" ;;
    v5p-* | v4-*) echo $((size / 2)) ;; # counted in cores, two of which are a device
    *) fail "--type=$1 is no type whose devices are known here, which --check must count" ;;
  esac
}

preflight() { # devices of the run (this machine's by default) [slices]: looks at it, here, before anything is started
  local flags=(--check --distributed=off)
  [[ -z ${1:-} ]] || flags+=("--check_devices=$1")
  [[ -z ${2:-} ]] || flags+=("--check_slices=$2")
  run env JAX_PLATFORMS=cpu "${PYTHON:-python}" -m "$module" "${flags[@]}" "${program[@]}"
}

quoted() { # the words as a shell reads them back
  local word line='' quote="'\\''"
  for word; do
    [[ $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]] || word="'${word//\'/$quote}'"
    line+="${line:+ }$word"
  done
  printf '%s\n' "$line"
}

run() { # a command, or with --dry-run its text
  if [[ -n ${dry_run:-} ]]; then quoted "$@"; else "$@"; fi
}
