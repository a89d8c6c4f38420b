#!/usr/bin/env bash
# One training on TPU slices of a GKE cluster that xpk manages (github.com/AI-Hypercomputer/xpk). It needs xpk 0.7.0 or
# newer and is tested with 1.16.0: pip install "xpk>=1.16".
#
#   launch/gke_xpk.sh create --name=trim --cluster=CLUSTER --type=v5e-256 --image=IMAGE -- \
#       --config=configs/easy_vqa.py:trim --workdir=gs://BUCKET/runs/trim
#   launch/gke_xpk.sh list --cluster=CLUSTER
#   launch/gke_xpk.sh logs | delete --name=trim --cluster=CLUSTER
#
# create  starts the workload. Where slices fail or are taken away, or a process is lost (exit status 75, or a signal),
#         all start anew and go on from the last save; after an error that would come again (status 1) they do not
# list    shows the cluster's workloads
# logs    follows process 0 (kubectl, with the cluster's credentials)
# delete  asks the program to save and end (SIGTERM), then removes the workload
#
# Everything after "--" goes to the program untouched. Its --workdir must be on gs://. IMAGE holds smarttrim_jax with
# the extra `tpu`; its working folder holds configs/. Without --image, xpk copies this folder into the image --base.
#
# Options, with their defaults:
#   --name=smarttrim      of the workload
#   --cluster=            of GKE
#   --type=               v6e-8, v5p-128, v5e-256 (v5litepod-256), ...
#   --image= --base=      container image, as it is or to copy this folder into
#   --num-slices=1        how many of that type; mesh.data must be a multiple of it
#   --restarts=50         how often the workload may start anew
#   --restart-on=75       exit statuses after which it does, beside those of signals (127-255); see launch/README.md
#   --grace=600           seconds from SIGTERM to SIGKILL (spot nodes are gone sooner)
#   --priority=medium     very-low, low, medium, high or very-high
#   --spot                take spot nodes, where the cluster provisions by itself
#   --env-file=FILE       variables for the program, lines of NAME=VALUE; keeps secrets off the command line (but who may
#                         read the cluster's JobSets reads them there)
#   --env=NAME=VALUE      one more variable, nothing secret; may be repeated
#   --zone= --project=    gcloud's configured ones by default
#   --module=smarttrim_jax.train    what is run, by `python -m`
#   --check               only look, here, whether configuration, workdir, data and mesh fit the slices; start nothing
#   --dry-run             print the commands
# Variables: PYTHON (python), for --check.

action=${1:-}
name=smarttrim cluster='' type='' image='' base='' num_slices=1 restarts=50 restart_on=75 grace=600 priority=medium
spot='' env_file='' zone='' project='' module=smarttrim_jax.train check='' dry_run=''
options='name cluster type image base num-slices restarts restart-on grace priority env-file env zone project module'
switches='spot check dry-run'
least_xpk=0.7.0 # the first that knows --restart-on-exit-codes
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
case $action in
  create | list | logs | delete) shift ;;
  --help | -h) ;;
  *) fail "'$action' is none of create, list, logs, delete; see --help" ;;
esac
parse "$@"
require name
[[ $action == logs ]] || require cluster
if [[ $action != create ]] && ((${#program[@]})); then
  fail "$action takes nothing after '--'"
elif [[ $action != create && -n $check ]]; then
  fail "--check is for create"
fi

where=("--cluster=$cluster")
[[ -z $zone ]] || where+=("--zone=$zone")
[[ -z $project ]] || where+=("--project=$project")

check_xpk() { # whether it is there and new enough
  local answer
  command -v xpk >/dev/null || fail "xpk is not installed: pip install 'xpk>=$least_xpk'"
  answer=$(xpk version 2>&1) || fail "'xpk version' fails: ${answer##*$'\n'}"
  [[ $answer =~ xpk_version:\ *v?([0-9]+(\.[0-9]+)+) ]] || fail "'xpk version' names no version: ${answer##*$'\n'}"
  printf '%s\n' "$least_xpk" "${BASH_REMATCH[1]}" | sort -C -V ||
    fail "xpk ${BASH_REMATCH[1]} is too old, $least_xpk is the least: pip install --upgrade xpk"
}

create() {
  local line flags=()
  require type
  type=${type/#v5e-/v5litepod-}
  require_counts num-slices grace
  [[ $restarts =~ ^[0-9]+$ ]] || fail "--restarts=$restarts is no whole number"
  [[ $restart_on =~ ^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$ ]] ||
    fail "--restart-on=$restart_on is no list of exit statuses, such as 75 or 1,75"
  [[ -n $image || -n $base ]] || fail "--image=... is missing (or --base=...); see --help"
  require_program
  require_bucket
  if [[ -n $check ]]; then
    preflight "$(($(devices_of "$type") * num_slices))" "$num_slices"
    return
  fi
  # xpk runs the line in a subshell and sends SIGTERM to it alone: exec makes the program take its place.
  line="exec $(quoted python -m "$module" "${program[@]}")"
  [[ $line != *$'\n'* ]] || fail "xpk takes no argument with a line break"
  flags+=("--tpu-type=$type" "--num-slices=$num_slices" "--max-restarts=$restarts" "--priority=$priority")
  flags+=("--termination-grace-period-seconds=$grace" "--restart-on-exit-codes=$restart_on" ${spot:+--spot})
  flags+=(${image:+"--docker-image=$image"} ${base:+"--base-docker-image=$base"})
  read_env_file
  if ((${#environment[@]})); then
    write_environment as_line
    flags+=("--env-file=$scratch/environment")
  fi
  [[ -n $dry_run ]] || check_xpk
  run xpk workload create "--workload=$name" "${where[@]}" "${flags[@]}" "--command=$line"
}

as_line() { # NAME VALUE, as xpk reads them from a file
  printf '%s=%s\n' "$1" "$2"
}

case $action in
  create) create ;;
  list) run xpk workload list "${where[@]}" ;;
  logs)
    run kubectl logs --follow --tail=100 \
      "--selector=jobset.sigs.k8s.io/jobset-name=$name,jobset.sigs.k8s.io/job-index=0,batch.kubernetes.io/job-completion-index=0"
    ;;
  delete) run xpk workload delete "--workload=$name" "${where[@]}" --force ;;
esac
