"""`benchmarks/run_all.sh` has legal commands for every file of figures, and gathers what they measure."""

import json
import pathlib
import re
import shlex
import sys
import types
from typing import Any

import pytest
from forked_commands import WORK_BEGINS, stop_at_work
from launch_scripts import BENCHMARKS, ROOT, Machine

SCRIPT = BENCHMARKS / "run_all.sh"
KEPT = {file.stem for file in BENCHMARKS.glob("*.json")}
# Stands for the interpreter: commands that would measure write a file, what asks for packages is told, or run.
PYTHON = r"""#!/usr/bin/env bash
for word; do [[ $word != --output=* ]] || file=${word#*=}; done
case "$*" in
  *smarttrim_jax.benchmark*meter_small*) exit 5 ;;
  *smarttrim_jax.benchmark*)
    echo '{"machine": {}, "commit": "a", "command": "b", "results": [{"batch_size": 1, "over_full": 1}]}' >"$file"
    ;;
  '-c '*) [[ -f $RECORD/packages ]] ;;
  *) exec "$REAL" "$@" ;;
esac
"""


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> Machine:
    machine = Machine(tmp_path)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(PYTHON)
    python.chmod(0o755)
    machine.environment |= {"PYTHON": "python", "REAL": sys.executable, "OUT": str(tmp_path / "new")}
    return machine


def commands(machine: Machine, *names: str) -> list[list[str]]:
    outcome = machine.run(SCRIPT, "--dry-run", *names)
    assert outcome.status == 0, outcome.stderr
    assert outcome.stderr == ""
    return [words for line in outcome.stdout.splitlines() if (words := shlex.split(line, comments=True))]


def test_the_list_names_the_files_that_are_kept_and_no_others(machine: Machine) -> None:
    lines = machine.run(SCRIPT, "--list").stdout.splitlines()
    rows = [re.split(" {2,}", line) for line in lines]
    assert sorted(row[0] for row in rows) == sorted(KEPT)
    for _, group, minutes, content in rows:
        assert group in ("timing", "torch", "training", "tpu", "gpu")
        assert re.fullmatch(r"\d+ (min|h)", minutes)
        assert content


def test_what_is_named_is_run_and_nothing_else(machine: Machine) -> None:
    everything = commands(machine)
    for name in KEPT:
        assert f"--output={machine.environment['OUT']}/{name}.json" in [
            word for words in everything for word in words
        ]
    assert {words[1] for words in commands(machine, "input_pipeline")} == {
        "benchmarks/input_pipeline.py",
        "benchmarks/compare.py",
    }
    compared = [words[2] for words in commands(machine, "tpu", "host_share") if words[1].endswith("compare.py")]
    assert compared == [
        f"benchmarks/{name}.json" for name in ("host_share", "slices", "official_steps", "tpu_inference")
    ]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["host_shares"], "there is no file and no group 'host_shares'"),
        (["host"], "there is no file and no group 'host'"),
        (["meter.base"], "there is no file and no group 'meter.base'"),
        ([""], "there is no file and no group ''"),
        (["host_share", "--fast"], "unknown option '--fast'"),
    ],
)
def test_wrong_arguments_are_one_sentence_and_a_failing_exit(
    machine: Machine, arguments: list[str], sentence: str
) -> None:
    outcome = machine.run(SCRIPT, *arguments)
    assert outcome.status == 2
    assert outcome.stderr.startswith(f"error: {sentence}")
    assert outcome.stderr.count("\n") == 1
    assert outcome.stdout == ""


def test_help_tells_options_and_variables(machine: Machine) -> None:
    text = machine.run(SCRIPT, "--help").stdout
    for name in ("--list", "--dry-run", "OUT=", "PYTHON=", "NLVR=", "EMOJI_FONT="):
        assert name in text
    assert "set -" not in text


def test_kept_figures_are_not_overwritten(machine: Machine) -> None:
    machine.environment["OUT"] = str(BENCHMARKS / ".." / "benchmarks")
    outcome = machine.run(SCRIPT, "host_share")
    assert outcome.status == 2
    assert "would overwrite the figures that are kept" in outcome.stderr


def test_parts_are_measured_gathered_and_compared(machine: Machine) -> None:
    outcome = machine.run(SCRIPT, "host_share")
    assert outcome.status == 0, outcome.stderr
    assert outcome.stderr == "run_all.sh: host_share took 1 min\n"
    figures = json.loads((machine.folder / "new" / "host_share.json").read_text())
    assert [row["model"] for row in figures["results"]] == ["meter_base", "blip_vqa"]
    assert figures["commit"] == "a"
    assert "host_share.json, beside benchmarks/host_share.json:\n" in outcome.stdout
    assert "results, batch_size=1 model=blip_vqa, over_full: 1 is new" in outcome.stdout


def test_what_fails_or_is_skipped_keeps_nothing_else_from_being_measured(machine: Machine) -> None:
    outcome = machine.run(SCRIPT, "meter_small_steps", "torch", "host_share")
    assert outcome.status == 1
    measured, failed, skipped = outcome.stderr.splitlines()
    assert measured == "run_all.sh: host_share took 1 min"
    assert failed == "run_all.sh: meter_small_steps failed with status 5"
    assert "blip_against_torch is skipped: Python has not all of torch transformers; pip install" in skipped
    assert [file.name for file in (machine.folder / "new").glob("*.json")] == ["host_share.json"]
    assert machine.run(SCRIPT, "torch").status == 0
    assert machine.run(SCRIPT, "blip_against_torch").status == 1  # it was asked for by its name
    (machine.folder / "packages").touch()
    assert machine.run(SCRIPT, "blip_against_torch").status == 0


def accepting_any_slice() -> None:
    """Stops at work, and needs no compiler for TPUs before."""
    from smarttrim_jax.ahead_of_time import topology

    stop_at_work()
    topology.open_slice = lambda name: types.SimpleNamespace(devices=[None])  # type: ignore[assignment,return-value]


def test_every_command_is_legal(machine: Machine, fork: Any) -> None:
    tried: set[tuple[str, ...]] = set()
    for words in commands(machine):
        if words[1] != "-m":
            assert (ROOT / words[0 if words[0].endswith(".sh") else 1]).is_file()
            continue
        _, _, module, *flags = words
        # What only differs in folders and speed-ups is tried once.
        flags = [re.sub(r"^--(workdir|output|config.init_from)=/.*", r"--\1=nowhere", flag) for flag in flags]
        flags = [re.sub(r"^--speedup=[\d.]+$", "--speedup=2", flag) for flag in flags]
        if (module, *flags) in tried:
            continue
        tried.add((module, *flags))
        status, stderr = fork(module, flags, f"run_all{len(tried)}", accepting_any_slice)
        if module.endswith(".evaluate") or ("--workdir=nowhere" in flags and module.endswith(".benchmark")):
            assert "error: 'nowhere' holds no run" in stderr  # flags were read before
        else:
            assert status == WORK_BEGINS, (words, stderr)
