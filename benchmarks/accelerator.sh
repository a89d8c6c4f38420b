#!/usr/bin/env bash
# Measures METER and BLIP on one accelerator, within a budget of minutes:
#
#   benchmarks/accelerator.sh --output=h100.json --minutes=8
#   benchmarks/accelerator.sh --small            # tiny models: a try on a CPU
#
# meter_base and blip_vqa in bfloat16 at batches of 8, 64, 1 and 256: full capacity layer by layer and as one program,
# padded, packed, and packed as one program, at .5 and .3 of the tokens; PyTorch's BLIP; training steps; attention
# kernels. The most important figures come first. The file is whole after every row; what was not reached stands under
# "left_out". Programs are compiled side by side and kept, so that a second run in the same place starts faster.
#
#   --output=FILE       where the figures go, as JSON (accelerator.json)
#   --minutes=N         after so many the run ends, counted from its start (8)
#   --small             tiny models and batches
#   --attention=KERNEL  auto, xla or cudnn; auto is checked against xla first, and given up where it is wrong (auto)
#   --noprofile         do not ask the profiler for the device's time, but queue calls
#   --xla_NAME=VALUE    a flag of XLA's. Where compiling takes too long: --xla_gpu_enable_triton_gemm=false (all matrix
#                       products by cuBLAS), or --xla_gpu_autotune_level=0 (nothing tried out; may run slower)
#   --only=TEXT         only what has this in its name as "left_out" writes it ("cudnn, batch 64"); may be repeated
#   --commit=NAME       of the code, where there is no git; also from COMMIT
#
# Python is $PYTHON (python3). Programs are kept in $JAX_COMPILATION_CACHE_DIR (a folder of the user's in /tmp), and JAX
# takes the share $XLA_PYTHON_CLIENT_MEM_FRACTION (.7) of the GPU's memory; PyTorch has the rest.
set -euo pipefail

arguments=()
for argument in "$@"; do
  case $argument in
    --help | -h)
      sed -n -e '1d' -e '/^#/!q' -e 's/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    --xla_*=*)
      export XLA_FLAGS="${XLA_FLAGS:-} $argument"
      ;;
    --small) # its figures mean nothing: compile fast
      export XLA_FLAGS="${XLA_FLAGS:-} --xla_backend_optimization_level=0"
      arguments+=(--small)
      ;;
    --noprofile)
      arguments+=(--no-profile)
      ;;
    *)
      arguments+=("$argument")
      ;;
  esac
done

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-/tmp/smarttrim_jax_compiled.$(id -u)}
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=${JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS:-0}
export JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=${JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES:-0}
export XLA_PYTHON_CLIENT_MEM_FRACTION=${XLA_PYTHON_CLIENT_MEM_FRACTION:-.7}
exec "${PYTHON:-python3}" "$root/benchmarks/accelerator.py" ${arguments[@]+"${arguments[@]}"}
