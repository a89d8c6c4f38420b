#!/usr/bin/env bash
# Cloud TPU pod slices as a queued resource: made, set up, trained on, and made anew when they are taken away.
#
#   launch/tpu_vm.sh create --name=trim --type=v5e-256 --zone=us-west4-a --spot
#   launch/tpu_vm.sh setup --name=trim --zone=us-west4-a
#   launch/tpu_vm.sh run --name=trim --type=v5e-256 --zone=us-west4-a --spot -- \
#       --config=configs/easy_vqa.py:trim --workdir=gs://BUCKET/runs/trim
#   launch/tpu_vm.sh logs | status | stop | delete --name=trim --zone=us-west4-a
#
# create  asks for the slices and waits until they are ACTIVE. Where they FAILED or are SUSPENDED it says why and asks
#         anew, waiting longer each time; after the same failure twice it stops
# setup   copies this repository and --source to every machine and installs them there (Python by uv)
# run     starts the program on every machine and waits for its end, with its exit status. Taken away meanwhile, the
#         slices are created and set up anew with the same code and versions, and the same command goes on from its
#         last save; it also does after a lost process. A dropped connection or Ctrl-C leaves the program running;
#         `run` again waits for it.
# logs    follows one machine's output (--worker=0)
# stop    asks the program to save and end (SIGTERM)
# status  describes the queued resource
# delete  gives the slices back
#
# Everything after "--" goes to the program untouched. Its --workdir must be on gs://; code and versions of the run are
# kept there, in launch/.
#
# Options, with their defaults:
#   --name=smarttrim      of the queued resource and its nodes
#   --type=               v6e-8, v5p-128, v5e-256 (v5litepod-256), v4-32, ...; for create and run
#   --num-slices=1        how many of that type; mesh.data must be a multiple of it; for create and run
#   --spot                cheaper, and taken away at any time; for create and run
#   --runtime=            software of the machines; by default the one for the type
#   --recreate=20         how often the slices may be made anew, and a lost program started anew
#   --source=DIR          of a project that installs this library: its last commit is sent too and is the program's
#                         working folder; what its requirements.txt or pyproject.toml asks for is installed
#   --working-tree        send changed and untracked files too, not the last commit
#   --extras=tpu,demo     extras of the library that setup installs
#   --python=3.12         that setup installs
#   --versions=           where a run began with other versions than are installed: recorded (install those) or new
#   --env-file=FILE       variables for the program, lines of NAME=VALUE; keeps secrets off every command line
#   --env=NAME=VALUE      one more variable, nothing secret; may be repeated
#   --worker=0 --node=0   whose output logs shows: a machine, and its slice
#   --tunnel-through-iap  reach the machines through Identity-Aware Proxy
#   --zone= --project=    gcloud's configured ones by default (CLOUDSDK_COMPUTE_ZONE, CLOUDSDK_CORE_PROJECT)
#   --module=smarttrim_jax.train    what is run, by `python -m`
#   --check               for run: only look, here, whether configuration, workdir, data and mesh fit; start nothing
#   --dry-run             print the commands
# Variables: SMARTTRIM_CREATE_FLAGS and SMARTTRIM_SSH_FLAGS (more flags for gcloud's queued-resources create, and for its
# ssh and scp, for example --reserved and --internal-ip), SMARTTRIM_POLL (30, seconds between two looks at the slices),
# PYTHON (python), for --check.

action=${1:-}
name=smarttrim type='' num_slices=1 spot='' runtime='' recreate=20 source='' working_tree='' extras=tpu,demo
python=3.12 versions='' env_file='' worker=0 node=0 tunnel_through_iap='' zone='' project=''
module=smarttrim_jax.train check='' dry_run=''
options='name type num-slices runtime recreate source extras python versions env-file env worker node zone project module'
switches='spot working-tree tunnel-through-iap check dry-run'
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=launch/common.sh
source "$here/common.sh"
case $action in
  create | setup | run | logs | stop | status | delete) shift ;;
  --help | -h) ;;
  *) fail "'$action' is none of create, setup, run, logs, stop, status, delete; see --help" ;;
esac
parse "$@"
require name
require_counts num-slices
[[ $recreate =~ ^[0-9]+$ ]] || fail "--recreate=$recreate is no whole number"
[[ $extras$python =~ ^[A-Za-z0-9_.,-]+$ ]] || fail "--extras=$extras and --python=$python must be plain words"
[[ -z $versions || $versions == recorded || $versions == new ]] || fail "--versions=$versions is neither recorded nor new"
if [[ -n $source ]]; then
  [[ -d $source ]] || fail "--source=$source is no folder"
  source=$(cd "$source" && pwd)
fi
if [[ $action == run || $action == create ]]; then
  require type
  type=${type/#v5e-/v5litepod-}
  case $type in
    v6e-*) default=v2-alpha-tpuv6e ;;
    v5p-*) default=v2-alpha-tpuv5 ;;
    v5litepod-*) default=v2-alpha-tpuv5-lite ;;
    v[234]-*) default=tpu-ubuntu2204-base ;;
    *) [[ -n $runtime ]] || fail "--type=$type is no type known here; name its software with --runtime" ;;
  esac
  runtime=${runtime:-$default}
fi
if [[ $action == run ]]; then
  require_program
  require_bucket
elif ((${#program[@]})); then
  fail "$action takes nothing after '--'"
elif [[ -n $check ]]; then
  fail "--check is for run"
fi
if [[ -n $check ]]; then
  [[ -z $source ]] || cd "$source"
  preflight "$(($(devices_of "$type") * num_slices))" "$num_slices"
  exit
fi
[[ -n $dry_run ]] || command -v gcloud >/dev/null || fail "gcloud is not installed: cloud.google.com/sdk"
# shellcheck source=launch/tpu_slice.sh
source "$here/tpu_slice.sh"
# shellcheck source=launch/tpu_source.sh
source "$here/tpu_source.sh"

as_export() { # NAME VALUE, as a shell reads them from a file
  printf 'export %s=%s\n' "$1" "$(quoted "$2")"
}

build_remote() { # the program's start on a machine, into `remote`
  local flags=("${program[@]}") load=''
  # Slices of one machine each look alone to JAX's environment.
  [[ $num_slices == 1 || " ${program[*]}" == *' --distributed'* ]] || flags+=(--distributed=on)
  ((${#environment[@]} == 0)) || load='. ./environment && '
  # The lock makes a second run wait for the first; the file is what stop reads.
  # shellcheck disable=SC2016
  remote="cd smarttrim && ${load}cd \$([ -d project ] && echo project || echo library) && flock ../run.lock $(quoted bash -c \
    'echo $$ >../run.pid; exec "$@" >>../run.log 2>&1' run ../.venv/bin/python -m "$module" "${flags[@]}")"
}

start() { # the program on all machines, until it ends
  if ((${#environment[@]})); then
    copy_to_all "$scratch/environment"
  fi
  on_all "$remote"
}

restart_helps() { # exit status: another process was lost (75), or a signal ended it that asked for no end
  (($1 == 75 || ($1 > 128 && $1 != 130 && $1 != 143)))
}

run_program() {
  local remote status last='' began
  read_env_file
  if ((${#environment[@]})); then
    write_environment as_export
  fi
  build_remote
  if [[ -n $dry_run ]]; then
    start
    echo '# where it was FAILED or SUSPENDED, then setup with the versions recorded in the workdir and the above again:'
    delete
    create
    return
  fi
  case $(state) in
    ACTIVE) settle_versions ;;
    ABSENT) fail "there is no '$name'; create it and set it up first" 1 ;;
    *)
      ensure_active
      setup_recorded
      settle_versions
      ;;
  esac
  while :; do
    status=0
    began=$SECONDS
    start || status=$?
    ((status)) || return 0
    if ((SECONDS - began >= 600)); then # it has lasted: what follows is another trouble
      last=''
      retries=0
    fi
    pause # its state follows with a delay
    case $(state) in
      SUSPENDING | SUSPENDED | FAILED)
        say "$name was taken away; the run goes on from its last save on a new one"
        ensure_active
        setup_recorded
        ;;
      ACTIVE)
        if restart_helps "$status" && [[ $status != "$last" ]]; then
          say "ended with status $status: a process was lost; started again, it goes on from its last save"
          last=$status
          may_retry "$name lost a process"
          pause_longer
          continue
        fi
        say "ended with status $status; the ends of the machines' logs:"
        on_all 'tail -n 20 smarttrim/run.log' >&2 || true
        exit "$status"
        ;;
      *) exit "$status" ;;
    esac
  done
}

# shellcheck disable=SC2016
case $action in
  create) if [[ -n $dry_run ]]; then create; else ensure_active; fi ;;
  setup) setup ;;
  run) run_program ;;
  logs) on_worker "$node" "$worker" 'tail -n 100 -F smarttrim/run.log' ;;
  stop) on_all 'kill -TERM "$(cat smarttrim/run.pid)"' ;;
  status) resource describe ;;
  delete) delete ;;
esac
