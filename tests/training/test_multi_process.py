"""Several processes train, stop and are taken up again as one run."""

import dataclasses
import json
import pathlib
import shutil
import signal
from typing import Any

import chex
import pytest
import toy_run
from processes import Ended, run_together

from smarttrim_jax.configuration import to_dict
from smarttrim_jax.training.checkpoint_reading import restore, saved_steps
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.training.run import evaluate
from smarttrim_jax.training.sharding import MeshConfig
from smarttrim_jax.training.workdir import Workdir


def report(folder: pathlib.Path) -> dict[str, Any]:
    """The figures of a report."""
    written = json.loads((folder / "report.json").read_text())
    return {name: value for name, value in written.items() if not isinstance(value, str)}


def lines(folder: pathlib.Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, dict[str, Any]]:
    """A run of two processes: the second is asked to stop, then killed, and at last the loss diverges."""
    folder = tmp_path_factory.mktemp("toy")
    ends: dict[str, Any] = {}
    for how in ("preempted", "lost", "diverged"):
        ends[how] = run_together(toy_run.__file__, str(folder), how)
        ends[f"{how}, saved"] = list(saved_steps(folder / "checkpoints"))
    return folder, ends


def test_sigterm_to_one_process_saves_once_and_stops_all(interrupted) -> None:
    ends, saved = interrupted[1]["preempted"], interrupted[1]["preempted, saved"]
    assert [end.status for end in ends] == [128 + signal.SIGTERM] * 2, ends
    for end in ends:
        assert f"stopped by SIGTERM after step {saved[-1]}, which is saved" in end.stdout


def test_a_lost_process_ends_the_others_with_a_sentence(interrupted) -> None:
    kept, lost = interrupted[1]["lost"]
    assert lost.status == -signal.SIGKILL
    assert kept.status != 0
    assert "run the same command on all of them again to go on from the last save" in kept.stderr.splitlines()[-1]


def test_a_loss_that_is_not_finite_stops_all_alike(interrupted) -> None:
    for end in interrupted[1]["diverged"]:
        assert end.status == 1
        assert "step 15: not finite: loss = nan; the last good checkpoint is " in end.stdout


def test_one_process_goes_on_where_several_were_stopped(interrupted, tmp_path: pathlib.Path) -> None:
    folder, _ = interrupted
    state, batches = toy_run.run(folder)
    expected, expected_batches = toy_run.run(tmp_path)
    chex.assert_trees_all_close(state, expected, atol=1e-6)
    assert batches.get_state() == expected_batches.get_state()
    chex.assert_trees_all_close(lines(folder), lines(tmp_path), rtol=1e-5)


@pytest.fixture(scope="module")
def together(
    experiment: ExperimentConfig, finished: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, list[Ended]]:
    """The second half of a finished run again, by two processes; batches, parameters and moments are split."""
    folder = tmp_path_factory.mktemp("together")
    data = dataclasses.replace(experiment.data, data_dir=str(folder / "prepared"))
    config = dataclasses.replace(experiment, data=data, mesh=MeshConfig(data=1, fsdp=2))
    (folder / "config.json").write_text(json.dumps(to_dict(config)))
    shutil.copytree(pathlib.Path(finished) / "checkpoints" / "10", folder / "run" / "checkpoints" / "10")
    shutil.copy(pathlib.Path(finished) / "metrics.jsonl", folder / "run")
    flags = [f"--config={pathlib.Path(__file__).parent / 'tiny_config.py'}:{folder / 'config.json'}"]
    ended = run_together("-m", "smarttrim_jax.train", *flags, f"--workdir={folder / 'run'}")
    return folder / "run", ended


def test_several_processes_train_as_one(together: Any, finished: str) -> None:
    folder, ended = together
    assert [end.status for end in ended] == [0, 0], ended
    chex.assert_trees_all_close(lines(folder)[10:], lines(pathlib.Path(finished))[10:], rtol=1e-5, atol=1e-6)
    assert len(lines(folder)) == len(lines(pathlib.Path(finished)))
    ours, expected = (restore(Workdir(str(path)).checkpoints) for path in (folder, finished))
    chex.assert_trees_all_close(ours, expected, atol=1e-4)


def test_one_process_prepares_the_data_and_speaks_for_all(together: Any) -> None:
    first, second = together[1]
    assert first.stdout.count("preparing easy_vqa") == 1
    assert "speed-up in MACs" in first.stdout
    assert "easy_vqa" not in second.stdout
    assert "step" not in second.stderr


def test_several_processes_evaluate_as_one(together: Any, finished: str) -> None:
    ours, expected = (report(pathlib.Path(folder)) for folder in (together[0], finished))
    assert ours["examples"] == 10  # which the batches of 4 do not divide
    chex.assert_trees_all_close(ours, expected, rtol=1e-5)


def test_one_process_evaluates_what_several_trained(together: Any) -> None:
    folder, _ = together
    written = report(folder)
    evaluate(str(folder))
    chex.assert_trees_all_close(report(folder), written, rtol=1e-5)
