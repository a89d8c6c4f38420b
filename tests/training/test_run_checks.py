"""A run is checked whole before its first step, and a start that fails leaves its folder free."""

import dataclasses
import os
import pathlib
from typing import Any

import pytest

from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.errors import ConfigError, SmartTrimError
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.sharding import MeshConfig
from smarttrim_jax.training import run
from smarttrim_jax.training.run import train
from smarttrim_jax.training.run_data import check_run, fit_to_data
from smarttrim_jax.training.run_lock import RunLock


@pytest.fixture
def never_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the model is built or trained."""
    monkeypatch.setattr(run, "trained_params", lambda *_: pytest.fail("training began"))


WRONG: dict[str, tuple[str, Any]] = {
    r"no examples in 'val', which evaluation.split names; it has: train": ("evaluation", {"split": "val"}),
    r"data.batch_size is 4096, more than the": ("data", {"batch_size": 4096}),
    r"metric 'recall' does not fit: there is no output .*; this task g": (
        "evaluation",
        {"metrics": ("recall",)},
    ),
    r"metric 'consistency' does not fit: the metadata of an example has 'None' as group; take data": (
        "evaluation",
        {"metrics": ("accuracy", "consistency")},
    ),
    r"a mesh of data=1, fsdp=3, tensor=1 does not fit": ("mesh", MeshConfig(data=1, fsdp=3)),
}


@pytest.mark.usefixtures("never_built")
@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_work_is_said_before_anything_is_built(
    experiment: ExperimentConfig, tmp_path: pathlib.Path, message: str
) -> None:
    group, changes = WRONG[message]
    value = dataclasses.replace(getattr(experiment, group), **changes) if isinstance(changes, dict) else changes
    with pytest.raises(SmartTrimError, match=message) as refused:
        train(dataclasses.replace(experiment, **{group: value}), str(tmp_path))
    assert "\n" not in str(refused.value)
    assert os.listdir(tmp_path) == []


class Strict:
    """Cannot bear what was not computed by a model."""

    def update(self, outputs: Any, targets: Any) -> None:
        assert list(outputs["probability"]) != [0.0, 0.0]

    def compute(self) -> dict[str, float]:
        return {"strict": 1.0}


def test_metrics_are_given_real_examples_with_made_up_outputs(experiment: ExperimentConfig) -> None:
    dataset = prepare(experiment.data)
    config = dataclasses.replace(
        experiment, evaluation=dataclasses.replace(experiment.evaluation, metrics=("accuracy", f"{__name__}:Strict"))
    )
    check_run(fit_to_data(config, dataset), dataset)


@pytest.mark.usefixtures("never_built")
def test_a_dial_needs_calibration_examples(
    experiment: ExperimentConfig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_calibration(config: ExperimentConfig, dataset: Any) -> ExperimentConfig:
        dataset.split_sizes["calibration"] = 0
        return fit_to_data(config, dataset)

    monkeypatch.setattr(run, "fit_to_data", without_calibration)
    with pytest.raises(ConfigError, match="no examples in 'calibration', which the speed dial is measured on"):
        train(experiment, str(tmp_path))


def test_a_start_that_failed_leaves_nothing_that_refuses_the_corrected_one(
    experiment: ExperimentConfig, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ReachedError(Exception):
        pass

    def first_step(*_: Any, **__: Any) -> None:
        raise ReachedError

    monkeypatch.setattr(run, "fit", first_step)
    monkeypatch.setattr(run, "_initial_state", lambda *_: {})  # which takes long to compile
    broken = dataclasses.replace(experiment.schedule)
    object.__setattr__(broken, "save_every", 0)  # by a configuration that does not check it
    with pytest.raises(SmartTrimError, match="every=0"):
        train(dataclasses.replace(experiment, seed=3, schedule=broken), str(tmp_path))
    assert not (tmp_path / "config.json").exists()
    with pytest.raises(ReachedError):
        train(experiment, str(tmp_path))
    assert (tmp_path / "config.json").exists()
    assert not (tmp_path / "run.lock").exists()


def test_a_folder_in_use_is_not_touched(experiment: ExperimentConfig, tmp_path: pathlib.Path) -> None:
    with RunLock(tmp_path), pytest.raises(SmartTrimError, match="is in use: process"):
        train(experiment, str(tmp_path))
    assert os.listdir(tmp_path) == []
