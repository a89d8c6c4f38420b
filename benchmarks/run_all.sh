#!/usr/bin/env bash
# Measures anew what benchmarks/ keeps: every FILE.json there, by the commands that made it.
#
#   benchmarks/run_all.sh                        all that this machine can measure, most of a day on two cores
#   benchmarks/run_all.sh host_share meter_base  these files
#   benchmarks/run_all.sh timing slices          files and groups: timing, torch, training, tpu, gpu
#   benchmarks/run_all.sh --list                 name, group, time and content of every file
#   benchmarks/run_all.sh --dry-run host_share   the commands alone
#
# Figures go to $OUT/FILE.json, what single commands measured to $OUT/parts, trained models to $OUT/runs. A training goes
# on where it stopped, and one that has ended is not repeated: remove $OUT/runs to train anew. Where benchmarks/ keeps a
# file of that name, benchmarks/compare.py then says what moved. What lacks a device, a package or data is skipped. The
# exit status is 1 where something failed, or was named and is skipped.
#
# Variables, with their defaults:
#   OUT=benchmarks/new    where it writes; paths that are not absolute begin in the repository
#   PYTHON=python         the interpreter that has the library's packages
#   NLVR=                 the folder that configs/nlvr.py describes
#   EMOJI_FONT=/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf

# What the launch scripts share serves here too: fail, say, run, quoted, usage.
options='' switches='' module='' dry_run=''
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=launch/common.sh
source launch/common.sh
out=${OUT:-benchmarks/new}
python=${PYTHON:-python}
skipped=77 # exit status of an entry that lacks something
# shellcheck source=benchmarks/entries.sh
source benchmarks/entries.sh

columns=$(sed -nE 's/^([a-z0-9_]+)\(\) \{ # \[([a-z]+), ([^]]+)\] (.*)$/\1|\2|\3|\4/p' benchmarks/entries.sh)
list=''
asked=()
for argument; do
  case $argument in
    --help | -h)
      usage
      exit
      ;;
    --list) list=1 ;;
    --dry-run) dry_run=1 ;;
    -*) fail "unknown option '$argument'; there are --list, --dry-run and --help" ;;
    *)
      cut -d '|' -f 1,2 <<<"$columns" | tr '|' '\n' | grep -qxF -e "$argument" ||
        fail "there is no file and no group '$argument'; --list shows what there is"
      asked+=("$argument")
      ;;
  esac
done
if [[ -n $list ]]; then
  while IFS='|' read -r entry group time content; do
    printf '%-18s  %-8s  %-6s  %s\n' "$entry" "$group" "$time" "$content"
  done <<<"$columns"
  exit
fi
[[ ! $out -ef benchmarks ]] || fail "OUT=$out would overwrite the figures that are kept; give another folder"
export PYTHON=$python PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

measure_entry() { # name, in a shell of its own, which ends where the entry does
  name=$1
  "$name"
  local kept=benchmarks/$name.json moved=0
  if [[ -f $kept ]]; then
    [[ -n $dry_run ]] || printf '%s, beside %s:\n' "$out/$name.json" "$kept"
    run "$python" benchmarks/compare.py "$kept" "$out/$name.json" || moved=$?
    ((moved <= 1)) || exit "$moved" # 1 is no failure: figures moved
  fi
}

status=0
while IFS='|' read -r -u 3 entry group _; do
  is_named=''
  [[ " ${asked[*]-} " != *" $entry "* ]] || is_named=1
  [[ ${#asked[@]} == 0 || -n $is_named || " ${asked[*]-} " == *" $group "* ]] || continue
  began=$SECONDS
  code=0
  [[ -z $dry_run ]] || printf '# %s\n' "$entry"
  (measure_entry "$entry") || code=$?
  if ((code == skipped)); then
    [[ -z $is_named ]] || status=1
  elif ((code)); then
    say "$entry failed with status $code"
    status=1
  elif [[ -z $dry_run ]]; then
    say "$entry took $(((SECONDS - began + 59) / 60)) min"
  fi
done 3<<<"$columns"
exit "$status"
