# shellcheck shell=bash
# A queued resource of Cloud TPU and the machines of its slices; sourced by tpu_vm.sh, whose options it reads.
: "${name?}" "${node?}" "${num_slices?}" "${recreate?}" "${dry_run?}" "${tunnel_through_iap?}"
: "${spot?}" "${type?}" "${runtime?}"

where=()
[[ -z ${zone?} ]] || where+=("--zone=$zone")
[[ -z ${project?} ]] || where+=("--project=$project")
read -r -a create_flags <<<"${SMARTTRIM_CREATE_FLAGS:-}"
read -r -a ssh_flags <<<"${SMARTTRIM_SSH_FLAGS:-}"
[[ -z $tunnel_through_iap ]] || ssh_flags+=(--tunnel-through-iap)
retries=0 # in succession, that did not last

resource() { # verb [flags]
  run gcloud compute tpus queued-resources "$1" "$name" ${where[@]+"${where[@]}"} "${@:2}"
}

on_worker() { # number of the slice, number of its machine, command
  resource ssh ${ssh_flags[@]+"${ssh_flags[@]}"} "--node=$1" "--worker=$2" "--command=$3"
}

on_all() { # command, at the same time on all machines of all slices
  resource ssh ${ssh_flags[@]+"${ssh_flags[@]}"} --node=all --worker=all --batch-size=all "--command=$1"
}

copy() { # from, to, then flags
  run gcloud compute tpus queued-resources scp "$1" "$2" ${where[@]+"${where[@]}"} \
    ${ssh_flags[@]+"${ssh_flags[@]}"} "${@:3}"
}

copy_to_all() { # a file or folder, into ~/smarttrim of all machines
  copy "$1" "$name:smarttrim/" --recurse --node=all --worker=all --batch-size=all
}

create() {
  local nodes=("--node-id=$name")
  ((num_slices == 1)) || nodes=("--node-count=$num_slices" "--node-prefix=$name")
  resource create "${nodes[@]}" "--accelerator-type=$type" "--runtime-version=$runtime" ${spot:+--spot} \
    ${create_flags[@]+"${create_flags[@]}"}
}

delete() {
  resource delete --force --quiet
}

pause() {
  sleep "${SMARTTRIM_POLL:-30}"
}

pause_longer() { # twice as long as the time before, at most 64 polls
  local factor=$((retries < 6 ? 1 << retries : 64))
  retries=$((retries + 1))
  sleep "$((${SMARTTRIM_POLL:-30} * factor))"
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

reason() { # why the queued resource is FAILED or SUSPENDED
  local answer
  answer=$(resource describe '--format=value(state.failedData.error.message,state.stateInitiator)' 2>/dev/null) || true
  read -r answer <<<"${answer//$'\n'/ }" || true
  printf '%s\n' "${answer:-gcloud names no reason; see $(basename "$0") status}"
}

may_retry() { # what has happened: whether it may be tried once more
  ((recreate > 0)) || fail "$1, and was tried again often enough (--recreate)" 1
  recreate=$((recreate - 1))
}

ensure_active() { # asks for the slices where needed, and waits for them
  local now why before='' failure='' silent=0
  while :; do
    now=$(state)
    [[ $now == "$before" ]] || say "$name is $now"
    before=$now
    case $now in
      ACTIVE) return ;;
      ABSENT) create ;;
      FAILED | SUSPENDED)
        why=$(reason)
        say "$name is $now: $why"
        [[ $now == SUSPENDED || $why != "$failure" ]] || fail "$name is FAILED twice for the same reason: $why" 1
        [[ $now == SUSPENDED ]] || failure=$why
        may_retry "$name is $now"
        delete
        pause_longer
        create
        ;;
      UNKNOWN) ((++silent < 10)) || fail "gcloud did not answer ten times" 1 ;;
    esac
    pause
  done
}
