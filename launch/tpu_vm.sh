#!/usr/bin/env bash
# A Cloud TPU pod slice as a queued resource: made, set up, trained on, and made anew when it is taken away.
#
#   launch/tpu_vm.sh create --name=trim --type=v5e-256 --zone=us-west4-a --spot
#   launch/tpu_vm.sh setup --name=trim --zone=us-west4-a
#   launch/tpu_vm.sh run --name=trim --type=v5e-256 --zone=us-west4-a --spot -- \
#       --config=configs/easy_vqa.py:trim --workdir=gs://BUCKET/runs/trim
#   launch/tpu_vm.sh logs | status | stop | delete --name=trim --zone=us-west4-a
#
# create  asks for the slice and waits until it is ACTIVE; one that FAILED or is SUSPENDED is deleted and asked for anew
# setup   copies the repository's last commit to every worker and installs it there (Python by uv)
# run     starts the program on every worker and waits for its end, with its exit status. Taken away meanwhile, the
#         slice is created and set up anew and the same command goes on from its last save. A dropped connection or
#         Ctrl-C leaves the program running; `run` again waits for it.
# logs    follows one worker's output (--worker=0)
# stop    asks the program to save and end (SIGTERM)
# status  describes the queued resource
# delete  gives the slice back
#
# Everything after "--" goes to the program untouched. Its --workdir must be on gs://.
#
# Options, with their defaults:
#   --name=smarttrim      of the queued resource and its node
#   --type=               v6e-8, v5p-128, v5e-256 (v5litepod-256), v4-32, ...; for create and run
#   --spot                cheaper, and taken away at any time; for create and run
#   --runtime=            software of the machines; by default the one for the type
#   --recreate=20         how often the slice may be made anew
#   --extras=tpu,demo     extras that setup installs
#   --python=3.12         that setup installs
#   --env=NAME=VALUE      for the program; may be repeated
#   --worker=0            whose output logs shows
#   --zone= --project=    gcloud's configured ones by default (CLOUDSDK_COMPUTE_ZONE, CLOUDSDK_CORE_PROJECT)
#   --module=smarttrim_jax.train    what is run, by `python -m`
#   --dry-run             print the commands
# Variables: SMARTTRIM_CREATE_FLAGS and SMARTTRIM_SSH_FLAGS (more flags for gcloud, for example --reserved and
# --tunnel-through-iap), SMARTTRIM_POLL (30, seconds between two looks at the slice).

action=${1:-}
name=smarttrim type='' spot='' runtime='' recreate=20 extras=tpu,demo python=3.12 worker=0 zone='' project=''
module=smarttrim_jax.train dry_run=''
options='name type runtime recreate extras python worker zone project module env'
switches='spot dry-run'
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
[[ $recreate =~ ^[0-9]+$ ]] || fail "--recreate=$recreate is no whole number"
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
fi
[[ -n $dry_run ]] || command -v gcloud >/dev/null || fail "gcloud is not installed: cloud.google.com/sdk"

where=()
[[ -z $zone ]] || where+=("--zone=$zone")
[[ -z $project ]] || where+=("--project=$project")
read -r -a create_flags <<<"${SMARTTRIM_CREATE_FLAGS:-}"
read -r -a ssh_flags <<<"${SMARTTRIM_SSH_FLAGS:-}"

resource() { # verb [flags]
  run gcloud compute tpus queued-resources "$1" "$name" ${where[@]+"${where[@]}"} "${@:2}"
}

on_worker() { # number or all, command
  run gcloud compute tpus tpu-vm ssh "$name" ${where[@]+"${where[@]}"} ${ssh_flags[@]+"${ssh_flags[@]}"} \
    "--worker=$1" "--command=$2"
}

create() {
  resource create "--node-id=$name" "--accelerator-type=$type" "--runtime-version=$runtime" ${spot:+--spot} \
    ${create_flags[@]+"${create_flags[@]}"}
}

delete() {
  resource delete --force --quiet
}

pause() {
  sleep "${SMARTTRIM_POLL:-30}"
}

state() { # of the queued resource; ABSENT where there is none, UNKNOWN where gcloud does not answer
  local answer
  if answer=$(resource describe '--format=value(state.state)' 2>&1); then
    printf '%s\n' "${answer##*$'\n'}"
  elif [[ $answer == *NOT_FOUND* || $answer == *'not found'* ]]; then
    echo ABSENT
  else
    say "gcloud does not know the state: ${answer##*$'\n'}"
    echo UNKNOWN
  fi
}

ensure_active() { # asks for the slice where needed, and waits for it
  local now before='' silent=0
  while :; do
    now=$(state)
    [[ $now == "$before" ]] || say "$name is $now"
    before=$now
    case $now in
      ACTIVE) return ;;
      ABSENT) create ;;
      FAILED | SUSPENDED)
        ((recreate > 0)) || fail "$name is $now, and was made anew often enough (--recreate)" 1
        recreate=$((recreate - 1))
        delete
        create
        ;;
      UNKNOWN) ((++silent < 10)) || fail "gcloud did not answer ten times" 1 ;;
    esac
    pause
  done
}

setup() {
  local archive=${TMPDIR:-/tmp}/smarttrim-source.tar.gz
  git -C "$here/.." diff --quiet HEAD 2>/dev/null || say "changes that are not committed are not copied"
  run git -C "$here/.." archive --format=tar.gz "--output=$archive" HEAD
  on_worker 0 true # makes and spreads the ssh keys once, before all workers are reached at the same time
  run gcloud compute tpus tpu-vm scp "$archive" "$name:smarttrim-source.tar.gz" ${where[@]+"${where[@]}"} \
    ${ssh_flags[@]+"${ssh_flags[@]}"} --worker=all
  on_worker all "set -e; mkdir -p smarttrim; tar -xzf smarttrim-source.tar.gz -C smarttrim; cd smarttrim; \
python3 -m pip install --quiet --user uv; python3 -m uv venv --quiet --allow-existing --python=$python .venv; \
python3 -m uv pip install --quiet --python=.venv/bin/python -e '.[$extras]'"
}

run_program() {
  local remote status
  # The lock makes a second run wait for the first; the file is what stop reads.
  # shellcheck disable=SC2016
  remote="cd smarttrim && flock run.lock $(quoted bash -c 'echo $$ >run.pid; exec "$@" >>run.log 2>&1' run \
    env ${environment[@]+"${environment[@]}"} .venv/bin/python -m "$module" "${program[@]}")"
  if [[ -n $dry_run ]]; then
    on_worker all "$remote"
    echo '# where it was FAILED or SUSPENDED, then setup and the command above again:'
    delete
    create
    return
  fi
  case $(state) in
    ACTIVE) ;;
    ABSENT) fail "there is no '$name'; create it and set it up first" 1 ;;
    *)
      ensure_active
      setup
      ;;
  esac
  while :; do
    status=0
    on_worker all "$remote" || status=$?
    ((status)) || return 0
    pause # its state follows with a delay
    case $(state) in
      SUSPENDING | SUSPENDED | FAILED)
        say "$name was taken away; the run goes on from its last save on a new one"
        ensure_active
        setup
        ;;
      ACTIVE)
        say "ended with status $status; the ends of the workers' logs:"
        on_worker all 'tail -n 20 smarttrim/run.log' >&2 || true
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
  logs) on_worker "$worker" 'tail -n 100 -F smarttrim/run.log' ;;
  stop) on_worker all 'kill -TERM "$(cat smarttrim/run.pid)"' ;;
  status) resource describe ;;
  delete) delete ;;
esac
