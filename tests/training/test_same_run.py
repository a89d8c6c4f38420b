"""Which starts go on in a run's folder, and what its damaged small files say."""

import dataclasses
import json
import os
import pathlib
from typing import Any

import jax.numpy as jnp
import pytest
from tiny_run import tiny_model

from smarttrim_jax.configuration import to_dict
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.errors import CheckpointError, ConfigError
from smarttrim_jax.experiment import EvaluationConfig, ExperimentConfig, ScheduleConfig
from smarttrim_jax.sharding import MeshConfig
from smarttrim_jax.training.checkpoints import Checkpoints
from smarttrim_jax.training.workdir import Workdir, describe
from smarttrim_jax.trimming.calibration import SpeedDial

CONFIG = ExperimentConfig(
    model=tiny_model(),
    data=DataConfig("easy_vqa", image_size=8, text_length=10, batch_size=8),
    schedule=ScheduleConfig(full_steps=8, trim_steps=12, save_every=10),
)


def changed(path: str, value: Any) -> ExperimentConfig:
    """The configuration with one key changed."""
    *groups, name = path.split(".")
    if not groups:
        return dataclasses.replace(CONFIG, **{name: value})
    return dataclasses.replace(
        CONFIG, **{groups[0]: dataclasses.replace(getattr(CONFIG, groups[0]), **{name: value})}
    )


def begun(folder: pathlib.Path, step: int) -> Workdir:
    """A folder in which a run has saved a step."""
    workdir = Workdir(str(folder))
    workdir.create()
    workdir.claim(CONFIG)
    checkpoints = Checkpoints(workdir.checkpoints, every=1, keep=1)
    checkpoints.save(step, {"params": {"kernel": jnp.ones(2)}}, None, describe(CONFIG))
    checkpoints.close()
    return workdir


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("begun")
    begun(folder, 10)
    return folder


HARMLESS = {
    "data.data_dir": "elsewhere",
    "data.source": "elsewhere",
    "data.workers": 2,
    "schedule.log_every": 3,
    "schedule.save_every": 7,
    "schedule.keep": 5,
    "schedule.writers": ("outside:StepList",),
    "schedule.trim_steps": 30,
    "evaluation": EvaluationConfig(split="train", speedups=(1.2,)),
    "init_from": "another",
    "mesh": MeshConfig(data=1, fsdp=2),
}
OF_ANOTHER_RUN = {
    "seed": 5,
    "data.seed": 5,
    "data.batch_size": 4,
    "data.tokenizer": "vocab.txt",
    "temperature": 2.0,
    "schedule.trim_steps": 11,
    "schedule.full_steps": 7,
    "model": tiny_model(images=2),
}


@pytest.mark.parametrize("key", HARMLESS)
def test_harmless_changes_and_more_steps_are_the_same_run(tmp_path: pathlib.Path, key: str) -> None:
    workdir = begun(tmp_path, 10)
    config = changed(key, HARMLESS[key])
    workdir.check_same_run(config)
    assert workdir.config() == CONFIG
    workdir.claim(config)
    assert workdir.config() == config


@pytest.mark.parametrize("key", OF_ANOTHER_RUN)
def test_what_the_saved_state_depends_on_makes_another_run(folder: pathlib.Path, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"holds a run with config\.{key}.*choose another --workdir") as refused:
        Workdir(str(folder)).check_same_run(changed(key, OF_ANOTHER_RUN[key]))
    assert "\n" not in str(refused.value)
    assert Workdir(str(folder)).config() == CONFIG


def test_a_phase_that_has_passed_cannot_grow(tmp_path: pathlib.Path) -> None:
    more = changed("schedule.full_steps", 16)
    begun(tmp_path / "full", 8).check_same_run(more)
    with pytest.raises(ConfigError, match=r"has begun to trim after config.schedule.full_steps = 8 steps, .* no 16"):
        begun(tmp_path / "trimming", 9).check_same_run(more)


def test_a_folder_is_anyones_until_a_run_has_saved_something(tmp_path: pathlib.Path) -> None:
    workdir = Workdir(str(tmp_path))
    workdir.claim(CONFIG)
    workdir.claim(changed("seed", 5))
    assert workdir.config().seed == 5


def test_more_steps_make_what_was_measured_before_void(tmp_path: pathlib.Path) -> None:
    workdir = begun(tmp_path, 20)
    workdir.write_dial(SpeedDial((-1.0, 1.0), (0.2, 1.0)))
    workdir.write_report({"accuracy": 1.0})
    workdir.claim(changed("schedule.keep", 1))
    assert workdir.dial() == SpeedDial((-1.0, 1.0), (0.2, 1.0))
    workdir.claim(changed("schedule.trim_steps", 13))
    with pytest.raises(CheckpointError, match="holds no speed dial"):
        workdir.dial()
    assert not (tmp_path / "report.json").exists()


@pytest.mark.parametrize(("asked", "writers"), [(True, ("tensorboard",)), (False, ())])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_run_of_before_there_were_writers_goes_on(
    tmp_path: pathlib.Path, asked: bool, writers: tuple[str, ...], damaged: bool
) -> None:
    settings = json.loads(json.dumps(to_dict(CONFIG)))
    del settings["schedule"]["writers"], settings["evaluation"]["metrics"]
    settings["schedule"]["tensorboard"] = asked
    workdir = Workdir(str(tmp_path))
    workdir.create()
    checkpoints = Checkpoints(workdir.checkpoints, every=1, keep=1)
    checkpoints.save(10, {"params": {"kernel": jnp.ones(2)}}, None, {"config": settings})
    checkpoints.close()
    (tmp_path / "config.json").write_text("{" if damaged else json.dumps(settings))
    if not damaged:
        assert workdir.config() == changed("schedule.writers", writers)
    with pytest.raises(ConfigError, match=r"config\.seed = 0, not 5"):
        workdir.check_same_run(changed("seed", 5))
    workdir.claim(CONFIG)
    assert workdir.config() == CONFIG


ODD = (b"", b"{", b"[1, 2]", b"3", b"null", b"[" * 100_000, b"\xff\xfe", b"\0\0\0", b'{"seed": "x"}', b'{"new": 1}')


@pytest.mark.parametrize("content", ODD, ids=range(len(ODD)))
def test_a_damaged_configuration_is_said_and_the_same_command_renews_it(
    tmp_path: pathlib.Path, content: bytes
) -> None:
    workdir = begun(tmp_path, 10)
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"config.json' is damaged.*run the same train command again") as said:
        workdir.config()
    assert "\n" not in str(said.value)
    # The last checkpoint still knows which run it is of.
    with pytest.raises(ConfigError, match=r"config\.seed = 0, not 5"):
        workdir.claim(changed("seed", 5))
    workdir.claim(CONFIG)
    assert workdir.config() == CONFIG


@pytest.mark.parametrize(
    "content", [*ODD, b'{"offsets": [], "ratios": []}', b'{"offsets": [1.0], "ratios": [NaN]}', b'{"offsets": "ab"}']
)
def test_a_damaged_dial_is_said_with_what_renews_it(tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / "speed_dial.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"speed_dial.json' is damaged.*run the same train command again"):
        Workdir(str(tmp_path)).dial()


def test_a_damaged_dial_is_called_a_dial(tmp_path: pathlib.Path) -> None:
    (tmp_path / "speed_dial.json").write_text('{"offsets": ["fast"], "ratios": [0.5]}')
    with pytest.raises(CheckpointError, match=r"speed_dial\.offsets\[0\] is 'fast'; it must be a number"):
        Workdir(str(tmp_path)).dial()


def test_a_configuration_of_another_version_is_said(tmp_path: pathlib.Path) -> None:
    workdir = Workdir(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(to_dict(CONFIG) | {"invention": 1}))
    with pytest.raises(
        CheckpointError, match=r"of another version of this library \(unknown config key 'config.inve"
    ):
        workdir.config()


def test_a_run_of_before_its_data_was_known_goes_on(tmp_path: pathlib.Path) -> None:
    workdir = begun(tmp_path, 10)
    workdir.claim(changed("data.fingerprint", "0123456789abcdef"))
    with pytest.raises(ConfigError, match=r"config.data.fingerprint = '0123456789abcdef', not 'f'"):
        workdir.claim(changed("data.fingerprint", "f"))


def test_what_killed_writers_left_is_removed(tmp_path: pathlib.Path) -> None:
    (tmp_path / ".config.json.0a1b2c3d.part").write_text("{")
    Workdir(str(tmp_path)).claim(CONFIG)
    assert sorted(os.listdir(tmp_path)) == ["config.json", "digests.json"]
