#!/usr/bin/env bash
# One training on TPU slices of a GKE cluster that xpk manages (pip install xpk; github.com/AI-Hypercomputer/xpk).
#
#   launch/gke_xpk.sh create --name=trim --cluster=CLUSTER --type=v5e-256 --image=IMAGE -- \
#       --config=configs/easy_vqa.py:trim --workdir=gs://BUCKET/runs/trim
#   launch/gke_xpk.sh list --cluster=CLUSTER
#   launch/gke_xpk.sh logs | delete --name=trim --cluster=CLUSTER
#
# create  starts the workload; where slices fail or are taken away, all start anew and go on from the last save
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
#   --slices=1            how many of that type
#   --restarts=50         how often the workload may start anew
#   --grace=600           seconds from SIGTERM to SIGKILL (spot nodes are gone sooner)
#   --priority=medium     very-low, low, medium, high or very-high
#   --spot                take spot nodes, where the cluster provisions by itself
#   --env=NAME=VALUE      for the program; may be repeated
#   --zone= --project=    gcloud's configured ones by default
#   --module=smarttrim_jax.train    what is run, by `python -m`
#   --dry-run             print the commands

action=${1:-}
name=smarttrim cluster='' type='' image='' base='' slices=1 restarts=50 grace=600 priority=medium spot='' zone=''
project='' module=smarttrim_jax.train dry_run=''
options='name cluster type image base slices restarts grace priority zone project module env'
switches='spot dry-run'
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
fi

where=("--cluster=$cluster")
[[ -z $zone ]] || where+=("--zone=$zone")
[[ -z $project ]] || where+=("--project=$project")

create() {
  local line flags=() each
  require type
  type=${type/#v5e-/v5litepod-}
  require_counts slices grace
  [[ $restarts =~ ^[0-9]+$ ]] || fail "--restarts=$restarts is no whole number"
  [[ -n $image || -n $base ]] || fail "--image=... is missing (or --base=...); see --help"
  require_program
  require_bucket
  # xpk runs the line in a subshell and sends SIGTERM to it alone: exec makes the program take its place.
  line="exec $(quoted python -m "$module" "${program[@]}")"
  [[ $line != *$'\n'* ]] || fail "xpk takes no argument with a line break"
  flags+=("--tpu-type=$type" "--num-slices=$slices" "--max-restarts=$restarts" "--priority=$priority")
  flags+=("--termination-grace-period-seconds=$grace" --restart-on-user-code-failure ${spot:+--spot})
  flags+=(${image:+"--docker-image=$image"} ${base:+"--base-docker-image=$base"})
  for each in ${environment[@]+"${environment[@]}"}; do
    flags+=("--env=$each")
  done
  run xpk workload create "--workload=$name" "${where[@]}" "${flags[@]}" "--command=$line"
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
