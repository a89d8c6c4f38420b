"""Every file of figures says where it comes from: the machine, the commit and the command."""

import importlib.metadata
import json
import pathlib
import subprocess
import sys
from typing import Any

import pytest
from forked_commands import ROOT

from smarttrim_jax.benchmarking import origin as module
from smarttrim_jax.benchmarking.origin import check_figures, named_commit, origin, trained_by, write_figures
from smarttrim_jax.errors import DataError
from smarttrim_jax.training.provenance import record_start
from smarttrim_jax.version import __version__


def head() -> str:
    return subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True).stdout[:7]


def test_an_origin_is_the_machine_the_commit_and_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(ROOT / "smarttrim_jax" / "benchmark.py"), "--keep=1", "--output=a.json"])
    monkeypatch.setattr(module.os, "environ", {})
    told = origin("python -m smarttrim_jax.benchmark", pillow="13")
    assert told["command"] == "python -m smarttrim_jax.benchmark --keep=1"
    assert told["commit"].removesuffix(" with changes") == (head() or f"release {__version__}")
    assert {"device", "cores", "jax", "pillow"} <= told["machine"].keys()
    assert origin("a", commit="fe3d1c2")["commit"] == "fe3d1c2"
    monkeypatch.setattr(module, "git_state", lambda file: None)
    assert origin("a")["commit"] == f"release {__version__}"


def test_a_commit_with_changes_is_none_without() -> None:
    commit = "81799d9" + 33 * "0"
    assert named_commit({"commit": commit, "dirty": False}) == "81799d9"
    assert named_commit({"commit": commit, "dirty": True}) == "81799d9 with changes"
    assert named_commit(None) == ""


def test_a_run_tells_how_it_was_trained(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trained_by(str(tmp_path)) == []
    for steps in ("1", "1", "2"):
        words = ["/bin/smarttrim-train", f"--config.schedule.full_steps={steps}", "--workdir=/home/alice/run"]
        monkeypatch.setattr(sys, "argv", words)
        record_start(tmp_path, 0)
    told = trained_by(str(tmp_path))
    assert [start["command"] for start in told] == [
        f"python -m smarttrim_jax.train --config.schedule.full_steps={steps} --workdir=.../run" for steps in "12"
    ]
    assert all(start["commit"].removesuffix(" with changes") == head() for start in told)


@pytest.mark.parametrize("content", ["{", "[]", '{"starts": 3}', '{"starts": [{"command": [3], "git": {}}]}'])
def test_a_damaged_record_tells_nothing(tmp_path: pathlib.Path, content: str) -> None:
    (tmp_path / "environment.json").write_text(content)
    assert trained_by(str(tmp_path)) == []


def test_figures_that_cannot_be_written_are_one_sentence(tmp_path: pathlib.Path) -> None:
    with pytest.raises(DataError, match=r"cannot write '.*a\.json': .*; choose another --output"):
        write_figures(tmp_path / "nowhere" / "a.json", {})


def measure_nothing() -> None:
    """Lets the commands of this process measure nothing, and write it."""
    from smarttrim_jax.ahead_of_time import report, topology
    from smarttrim_jax.benchmarking import host_share, speed_report, step_speed
    from smarttrim_jax.reporting import slice_table, tables

    class Nothing:
        def to_dict(self) -> dict[str, Any]:
            return {"topology": "v5e:4x4"}

        def check_memory(self) -> None:
            pass

    def rows(*args: Any, **kwargs: Any) -> Any:
        return iter([{"of": "nothing"}])

    tables.format_speed = tables.format_step = tables.format_host = str  # type: ignore[assignment]
    speed_report.measure_forced = step_speed.measure_steps = host_share.measure_host = rows  # type: ignore[assignment]
    report.report_slice = lambda *args, **kwargs: Nothing()  # type: ignore[assignment,return-value]
    topology.open_slice = lambda name: None  # type: ignore[assignment,return-value]
    slice_table.format_slice = lambda report: ""
    importlib.metadata.version = lambda name: "0.0"


@pytest.mark.parametrize(
    ("command", "flags"),
    [
        ("benchmark", ["--config=configs/benchmark.py:meter_tiny", "--keep=1"]),
        ("benchmark", ["--config=configs/benchmark.py:meter_tiny", "--steps"]),
        ("benchmark", ["--config=configs/benchmark.py:meter_tiny", "--host"]),
        ("aot", ["--config=configs/benchmark.py:meter_tiny", "--topology=v5e:4x4"]),
    ],
)
def test_commands_write_where_their_figures_come_from(
    fork: Any, tmp_path: pathlib.Path, command: str, flags: list[str]
) -> None:
    file = tmp_path / "figures.json"
    words = [*flags, f"--output={file}"]
    status, stderr = fork(f"smarttrim_jax.{command}", words, f"origin_{command}{flags[-1]}", measure_nothing)
    assert status == 0, stderr
    told = json.loads(file.read_text())
    typed = f"python -m smarttrim_jax.{command} {' '.join(flags)}"
    assert told["command"].partition(typed)[1:] == (typed, "")
    assert told["commit"].removesuffix(" with changes") == head()
    assert told["machine"]["cores"]


def test_a_file_of_figures_is_tried_and_stays_as_it_is(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "figures.json"
    check_figures(file)
    assert list(tmp_path.iterdir()) == []
    file.write_text("earlier")
    check_figures(file)
    assert {each: each.read_text() for each in tmp_path.iterdir()} == {file: "earlier"}
    for wrong in (tmp_path, tmp_path / "missing" / "figures.json"):
        with pytest.raises(DataError, match=r"cannot write .*; choose another --output"):
            check_figures(wrong)
