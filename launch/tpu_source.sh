# shellcheck shell=bash
# What is installed on the machines of a TPU slice, and that it stays the same; sourced by tpu_vm.sh after tpu_slice.sh.
#
# ~/smarttrim of every machine, and WORKDIR/launch of the run that it begins:
#   launch/library.tar.gz     this repository
#   launch/project.tar.gz     --source, the program's working folder; without it that is the library
#   launch/install.sh         installs them
#   launch/versions.json      commits, Python and extras
#   launch/requirements.lock  the versions that the first installation found; every later one takes them
: "${here?}" "${name?}" "${source?}" "${working_tree?}" "${python?}" "${extras?}" "${versions?}"
: "${workdir?}" "${scratch?}" "${dry_run?}"

commit='' # of the folder that was packed last
record='' # see read_record
library=$(cd "$here/.." && pwd)
recorded=(versions.json requirements.lock)

shown() { # lines, as one line of at most ten
  local lines=$1 count
  count=$(wc -l <<<"$lines")
  head -n 10 <<<"$lines" | paste -s -d ' ' - | tr -d '\n'
  ((count <= 10)) || printf ' and %s more' "$((count - 10))"
}

pack() { # folder, archive
  local left_out tree=HEAD
  if ! commit=$(git -C "$1" rev-parse --verify --quiet HEAD); then
    commit=none
    run tar -C "$1" --exclude-vcs --exclude=.venv --exclude=__pycache__ -czf "$2" .
    return
  fi
  left_out=$(git -C "$1" diff --name-only --relative HEAD -- . && git -C "$1" ls-files --others --exclude-standard)
  if [[ -n $left_out && -n $working_tree ]]; then
    commit+=+changes
    # A commit of nobody's: an index beside that of the repository takes the folder as it lies there.
    run env "GIT_INDEX_FILE=$scratch/index" git -C "$1" read-tree HEAD
    run env "GIT_INDEX_FILE=$scratch/index" git -C "$1" add --all .
    tree=TREE
    [[ -n $dry_run ]] || tree=$(GIT_INDEX_FILE=$scratch/index git -C "$1" write-tree)
    [[ -z $(git -C "$1" rev-parse --show-prefix) ]] || tree+=:$(git -C "$1" rev-parse --show-prefix)
    run git -C "$(git -C "$1" rev-parse --show-toplevel)" archive --format=tar.gz "--output=$2" "$tree"
    return
  elif [[ -n $left_out ]]; then
    say "not in the last commit of $1 and not sent: $(shown "$left_out") (--working-tree sends them)"
  fi
  run git -C "$1" archive --format=tar.gz "--output=$2" "$tree"
}

pack_all() { # what setup sends, into $scratch/launch
  local commits
  run mkdir -p "$scratch/launch"
  pack "$library" "$scratch/launch/library.tar.gz"
  commits="\"library\": \"$commit\""
  if [[ -n $source ]]; then
    pack "$source" "$scratch/launch/project.tar.gz"
    commits+=", \"project\": \"$commit\""
  fi
  run cp "$here/tpu_install.sh" "$scratch/launch/install.sh"
  [[ -n $dry_run ]] ||
    printf '{%s, "python": "%s", "extras": "%s"}\n' "$commits" "$python" "$extras" >"$scratch/launch/versions.json"
}

install_all() { # what lies in $scratch/launch
  # The first machine alone makes and spreads the ssh keys, before all are reached at the same time.
  on_worker 0 0 true
  on_all 'rm -rf smarttrim/launch && mkdir -p smarttrim'
  copy_to_all "$scratch/launch"
  on_all "bash smarttrim/launch/install.sh $(quoted "$python" "$extras")"
}

setup() {
  make_scratch
  pack_all
  install_all
}

read_record() { # what the workdir's run began with, into `record`; empty if nothing
  record=$(gcloud storage cat "${recorded[@]/#/$workdir/launch/}" 2>"$scratch/errors") && return
  grep -q 'matched no objects' "$scratch/errors" || fail "cannot read $workdir/launch: $(tail -n 1 "$scratch/errors")" 1
  record=''
}

write_record() { # what the first machine has, into the workdir
  say "recorded in $workdir/launch: what $name has installed"
  rm -rf "$scratch/launch"
  copy "$name:smarttrim/launch" "$scratch/" --recurse --node=0 --worker=0
  gcloud storage cp "$scratch"/launch/* "$workdir/launch/"
}

setup_recorded() { # as the workdir's run began; a run that has not begun takes what is here
  make_scratch
  [[ -z $workdir ]] || read_record
  if [[ -z $record ]]; then
    setup
    return
  fi
  say "setting $name up with the versions recorded in $workdir/launch"
  rm -rf "$scratch/launch"
  mkdir -p "$scratch/launch"
  gcloud storage cp "$workdir/launch/*" "$scratch/launch/"
  install_all
}

settle_versions() { # of slices that are set up: the run shall go on with what it began with
  local installed
  [[ -n $workdir ]] || return 0
  make_scratch
  read_record
  installed=$(on_worker 0 0 "cd smarttrim/launch && cat ${recorded[*]}") || fail "$name is not set up; run setup first" 1
  [[ $record != "$installed" ]] || return 0
  if [[ -z $record || $versions == new ]]; then
    write_record
  elif [[ $versions == recorded ]]; then
    setup_recorded
  else
    fail "$workdir began with other versions than $name has; --versions=recorded installs those, --versions=new goes \
on with these" 1
  fi
}
