"""Several processes train, stop and are taken up again as one run."""

import json
import os
import pathlib
import signal
from typing import Any

import chex
import pytest
import toy_run
from processes import run_together

from smarttrim_jax.processes import LOST_PROCESS
from smarttrim_jax.training.checkpoint_reading import saved_steps
from smarttrim_jax.training.run_lock import RunLock

pytestmark = pytest.mark.slow  # two processes import and compile for every case


def lines(folder: pathlib.Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, dict[str, Any]]:
    """A run of two processes: a full disk, the second asked to stop, then killed, and a loss that diverges."""
    folder = tmp_path_factory.mktemp("toy")
    ends: dict[str, Any] = {}
    for how in ("no room", "preempted", "lost", "diverged"):
        ends[how] = run_together(toy_run.__file__, str(folder), how)
        ends[f"{how}, saved"] = list(saved_steps(folder / "checkpoints"))
    return folder, ends


def test_a_full_disk_stops_all_alike_and_leaves_the_earlier_checkpoint(interrupted) -> None:
    assert interrupted[1]["no room, saved"] == [toy_run.EVERY]
    for end in interrupted[1]["no room"]:
        assert end.status == 1, end
        assert "No space left on device" in end.stdout
        assert f"the last good one is {interrupted[0] / 'checkpoints' / str(toy_run.EVERY)}; mend this" in end.stdout


def test_sigterm_to_all_processes_saves_once_and_stops_all(tmp_path: pathlib.Path) -> None:
    ends = run_together(toy_run.__file__, str(tmp_path), "all preempted")
    (*_, saved) = saved_steps(tmp_path / "checkpoints")
    assert [end.status for end in ends] == [128 + signal.SIGTERM] * 2, ends
    for end in ends:
        assert f"stopped by SIGTERM after step {saved}, which is saved" in end.stdout


def test_sigterm_to_one_process_saves_once_and_stops_all(interrupted) -> None:
    ends, saved = interrupted[1]["preempted"], interrupted[1]["preempted, saved"]
    assert [end.status for end in ends] == [128 + signal.SIGTERM] * 2, ends
    for end in ends:
        assert f"stopped by SIGTERM after step {saved[-1]}, which is saved" in end.stdout


def test_a_lost_process_ends_the_others_with_a_sentence(interrupted) -> None:
    kept, lost = interrupted[1]["lost"]
    assert lost.status == -signal.SIGKILL
    assert kept.status in (LOST_PROCESS, -signal.SIGABRT)
    assert "run the same command on all of them again to go on from the last save" in kept.stderr.splitlines()[-1]


def test_a_loss_that_is_not_finite_stops_all_alike(interrupted) -> None:
    for end in interrupted[1]["diverged"]:
        assert end.status == 1
        assert "step 15: not finite: loss = nan; the last good checkpoint is " in end.stdout


def test_a_folder_in_use_is_refused_to_all_processes(tmp_path: pathlib.Path) -> None:
    with RunLock(tmp_path):
        ends = run_together(toy_run.__file__, str(tmp_path), "locked")
    for end in ends:
        assert end.status == 1
        assert f"'{tmp_path}' is in use: process {os.getpid()} on " in end.stdout + end.stderr
    assert os.listdir(tmp_path) == []
    ends = run_together(toy_run.__file__, str(tmp_path), "locked")
    assert [end.status for end in ends] == [0, 0], ends
    assert sorted(os.listdir(tmp_path)) == ["checkpoints", "metrics.jsonl"]


def test_a_checkpoint_damaged_for_one_process_is_passed_over_by_all(tmp_path: pathlib.Path) -> None:
    toy_run.run(tmp_path, total=2 * toy_run.EVERY)
    ends = run_together(toy_run.__file__, str(tmp_path), "damaged for one")
    assert [end.status for end in ends] == [0, 0], ends
    for end in ends:
        assert "trying the checkpoint before it" in end.stderr
    expected, _ = toy_run.run(tmp_path / "undisturbed")
    chex.assert_trees_all_close(toy_run.run(tmp_path)[0], expected, atol=1e-6)


def test_one_process_goes_on_where_several_were_stopped(interrupted, tmp_path: pathlib.Path) -> None:
    folder, _ = interrupted
    state, batches = toy_run.run(folder)
    expected, expected_batches = toy_run.run(tmp_path)
    chex.assert_trees_all_close(state, expected, atol=1e-6)
    assert batches.get_state() == expected_batches.get_state()
    chex.assert_trees_all_close(lines(folder), lines(tmp_path), rtol=1e-5)
