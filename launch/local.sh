#!/usr/bin/env bash
# One training on several processes of this machine.
#
#   launch/local.sh --processes=2 --devices=4 -- --config=configs/easy_vqa.py:quick --workdir=runs/two_processes
#
# Everything after "--" goes to the program untouched. Process 0 writes to the terminal, the others into files. Ctrl-C
# and SIGTERM become a SIGTERM for every process, so that all save the same step; a second one ends them at once. When
# a process fails, the others are ended: without it they can neither go on nor save. The exit status is that of the
# process that failed first, or 0.
#
# Options, with their defaults:
#   --processes=2         how many
#   --devices=1           of each process: CPU devices, or GPUs of this machine
#   --platform=cpu        or cuda
#   --port=               of process 0 for the others; a free one by default
#   --logs=               folder of the logs process-1.log, ...; a new temporary one by default
#   --grace=120           seconds from SIGTERM to SIGKILL; after a failure 10 at most
#   --module=smarttrim_jax.train    what is run, by `python -m`
#   --check               only look whether configuration, workdir, data and mesh fit; start nothing
#   --dry-run             print the commands
# Variables: PYTHON (python).

processes=2 devices=1 platform=cpu port='' logs='' grace=120 module=smarttrim_jax.train check='' dry_run=''
options='processes devices platform port logs grace module'
switches='check dry-run'
# shellcheck source=launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
parse "$@"
require_counts processes devices
[[ $grace =~ ^[0-9]+$ ]] || fail "--grace=$grace is no whole number of seconds"
[[ $platform == cpu || $platform == cuda ]] || fail "--platform=$platform is neither cpu nor cuda"
require_program
if [[ -n $check ]]; then
  preflight "$((processes * devices))"
  exit
fi
python=${PYTHON:-python}

if [[ -z $port ]]; then
  port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
fi
if [[ -z $logs ]]; then
  logs=${TMPDIR:-/tmp}/smarttrim-$port
fi

build_command() { # of process $1, into `command`
  local first=$(($1 * devices))
  command=(env "JAX_COORDINATOR_ADDRESS=localhost:$port" "JAX_NUM_PROCESSES=$processes" "JAX_PROCESS_ID=$1")
  command+=("JAX_PLATFORMS=$platform")
  if [[ $platform == cuda ]]; then
    command+=("CUDA_VISIBLE_DEVICES=$(seq -s, "$first" "$((first + devices - 1))")")
  else
    command+=("JAX_NUM_CPU_DEVICES=$devices")
  fi
  command+=("$python" -m "$module" "${program[@]}")
}

if [[ -n $dry_run ]]; then
  for ((i = 0; i < processes; i++)); do
    build_command "$i"
    ((i == 0)) || redirected=" >$(quoted "$logs/process-$i.log") 2>&1"
    printf '%s%s &\n' "$(quoted "${command[@]}")" "${redirected:-}"
  done
  exit 0
fi

mkdir -p "$logs"
pids=()   # of all processes
alive=()  # numbers of those that run
status=0  # of the process that failed first
stopped='' # asked to stop by a signal
deadline='' # when those that still run are killed, in SECONDS

end_all() { # with the signal $1: for TERM the processes themselves, which save; for KILL all that they started too
  local i
  for i in ${alive[@]+"${alive[@]}"}; do
    if [[ $1 == KILL ]]; then kill -KILL -- "-${pids[i]}"; else kill "-$1" "${pids[i]}"; fi 2>/dev/null || true
  done
}

# shellcheck disable=SC2329 # the trap calls it
stop() {
  if [[ -n $stopped ]]; then
    end_all KILL
  else
    stopped=1
    deadline=$((SECONDS + grace))
    end_all TERM
  fi
}
trap 'stop' INT TERM HUP
trap 'end_all KILL' EXIT

set -m # a process group for each, so that the terminal's Ctrl-C comes here alone and is passed on once
for ((i = 0; i < processes; i++)); do
  build_command "$i"
  if ((i == 0)); then
    "${command[@]}" </dev/null &
  else
    "${command[@]}" </dev/null >"$logs/process-$i.log" 2>&1 &
  fi
  pids+=("$!")
  alive+=("$i")
done
set +m

while ((${#alive[@]})); do
  sleep 0.2
  running=()
  for i in "${alive[@]}"; do
    if kill -0 "${pids[i]}" 2>/dev/null; then
      running+=("$i")
      continue
    fi
    code=0
    wait "${pids[i]}" 2>/dev/null || code=$?
    if ((code)) && [[ -z $deadline ]]; then # none of those that were ended
      say "process $i ended with status $code; the others are ended"
      if ((i)); then
        say "the end of $logs/process-$i.log:"
        tail -n 20 "$logs/process-$i.log" >&2
      fi
    fi
    ((status)) || status=$code
  done
  alive=(${running[@]+"${running[@]}"})
  if ((status)) && [[ -z $deadline ]]; then
    deadline=$((SECONDS + (grace < 10 ? grace : 10)))
    end_all TERM
  elif [[ -n $deadline ]] && ((SECONDS >= deadline)); then
    end_all KILL
  fi
done
exit "$status"
