"""A run is looked at before anything is paid for, and left as it was."""

import dataclasses
import pathlib

import numpy as np
import pytest

from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.errors import CheckpointError, ConfigError, SmartTrimError, TrainingError
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.sharding import MeshConfig
from smarttrim_jax.training.checkpoints import Checkpoints
from smarttrim_jax.training.preflight import preflight
from smarttrim_jax.training.run_data import fit_to_data
from smarttrim_jax.training.workdir import Workdir, describe


def test_a_run_that_can_start_is_told_in_one_line_and_nothing_is_left(
    experiment: ExperimentConfig, tmp_path: pathlib.Path
) -> None:
    line = preflight(experiment, str(tmp_path / "run"), devices=1)
    assert line.startswith("ready: ")
    assert "\n" not in line
    assert list(tmp_path.iterdir()) == []


def test_the_mesh_is_that_of_the_devices_to_come(experiment: ExperimentConfig, tmp_path: pathlib.Path) -> None:
    size = experiment.data.batch_size
    wide = dataclasses.replace(experiment, mesh=MeshConfig(fsdp=size))
    assert f"data=1 x fsdp={size}" in preflight(wide, str(tmp_path), devices=size)
    with pytest.raises(ConfigError, match="does not fit 1 devices"):
        preflight(wide, str(tmp_path), devices=1)
    with pytest.raises(ConfigError, match="there are 2 slices"):
        preflight(wide, str(tmp_path), devices=size, slices=2)
    with pytest.raises(ConfigError, match="cannot be split over"):
        preflight(experiment, str(tmp_path), devices=size + 1)


def test_what_training_would_refuse_is_refused(experiment: ExperimentConfig, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="cannot write to workdir"):
        preflight(experiment, str(tmp_path / "file" / "run"), devices=1)
    nowhere = dataclasses.replace(experiment.data, source="nowhere", data_dir=str(tmp_path / "data"))
    with pytest.raises(SmartTrimError, match="nowhere"):
        preflight(dataclasses.replace(experiment, data=nowhere), str(tmp_path / "run"), devices=1)
    workdir = Workdir(str(tmp_path / "taken"))
    workdir.create()
    config = fit_to_data(experiment, prepare(experiment.data))
    workdir.claim(config)
    checkpoints = Checkpoints(workdir.checkpoints, every=1, keep=1)
    checkpoints.save(1, {"params": {"kernel": np.ones(1)}}, {}, describe(config))
    checkpoints.close()
    assert preflight(experiment, str(workdir.path), devices=1).startswith("ready: ")
    with pytest.raises(ConfigError, match="seed"):
        preflight(dataclasses.replace(experiment, seed=77), str(workdir.path), devices=1)
    going_on = dataclasses.replace(experiment, init_from="gone.safetensors")
    assert preflight(going_on, str(workdir.path), devices=1).startswith("ready: ")
    with pytest.raises(CheckpointError, match=r"gone\.safetensors' is missing"):
        preflight(going_on, str(tmp_path / "started"), devices=1)
    started = dataclasses.replace(experiment, init_from=str(workdir.path))
    with pytest.raises(CheckpointError, match="of another model"):
        preflight(started, str(tmp_path / "started"), devices=1)
