# shellcheck shell=bash
# What the launch scripts share. They source it after setting `options` (--name=value) and `switches` (--name), and a
# variable with a default for each, called like it (with _ for -).
set -euo pipefail
: "${options?}" "${switches?}"

program=()     # what followed "--": the program's flags, untouched
environment=() # of every --env=NAME=VALUE

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
          [[ $1 == --env=*=* ]] || fail "$1 is not --env=NAME=VALUE"
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

require_bucket() { # of the program's --workdir: every machine must see it, and it must outlive them
  local flag next='' folder=''
  for flag in "${program[@]}"; do
    [[ -z $next ]] || folder=$flag
    next=''
    case $flag in
      --workdir=*) folder=${flag#--workdir=} ;;
      --workdir) next=1 ;;
    esac
  done
  [[ -z $folder || $folder == gs://* ]] ||
    fail "--workdir=$folder is lost with the machine, and no other one sees it; take a bucket: --workdir=gs://..."
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
