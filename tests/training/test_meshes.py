"""Eight devices train as one, however they are arranged, in one process or in two."""

import dataclasses
import json
import pathlib
import pickle
import shutil
from typing import Any, NamedTuple

import chex
import jax
import pytest
import tiny_tasks
from mesh_runs import FIRST, MESHES, SECOND, WIDER
from processes import Ended, run_together, start_together, wait_for

from smarttrim_jax.configuration import to_dict
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.training.checkpoint_reading import contents, restore
from smarttrim_jax.training.checkpoints import Checkpoints
from smarttrim_jax.training.run import train

# Every mesh compiles its own step: minutes.
pytestmark = pytest.mark.slow

RUNS = (*MESHES, "1x8x1")


@pytest.fixture(scope="module")
def experiment(experiment: ExperimentConfig) -> ExperimentConfig:
    """The tiny experiment with all that a mesh could disturb: 8 heads to share, scan, remat, accumulation."""
    model = experiment.model
    # Else the first steps would trim next to nothing.
    policy = dataclasses.replace(model.trimming.policy, initial_bias=0.5)
    trimming = dataclasses.replace(model.trimming, policy=policy)
    layers = {part: dataclasses.replace(getattr(model, part), heads=8) for part in ("vision", "text", "fusion")}
    return dataclasses.replace(
        experiment,
        model=dataclasses.replace(model, **layers, trimming=trimming, scan=True, remat="full"),
        optimizer=dataclasses.replace(experiment.optimizer, accumulate=2),
        # After the first save there is trim-tuning alone, and half of an update has been gathered.
        schedule=dataclasses.replace(experiment.schedule, full_steps=13, trim_steps=21, save_every=13, keep=3),
    )


@pytest.fixture(scope="module")
def finished(experiment: ExperimentConfig, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a run that nobody disturbed."""
    path = str(tmp_path_factory.mktemp("finished"))
    train(experiment, path)
    return path


class Together(NamedTuple):
    """A run of several processes."""

    folder: pathlib.Path
    ended: list[Ended]


@pytest.fixture(scope="module")
def on_eight_devices(
    experiment: ExperimentConfig, finished: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[pathlib.Path, Together]:
    """The trim-tuning of the finished run again, by one process on many meshes and, at the same time, by two."""
    folder = tmp_path_factory.mktemp("meshes")
    for name in (*MESHES, "1x8x1", "together"):
        (folder / name).mkdir()
        shutil.copy(pathlib.Path(finished) / "metrics.jsonl", folder / name)
    for name in (*MESHES, "together"):
        saved = pathlib.Path("checkpoints", str(FIRST))
        shutil.copytree(pathlib.Path(finished) / saved, folder / name / saved)

    (folder / "raw").mkdir()
    retrieval = tiny_tasks.experiment("retrieval", tiny_tasks.make_sources(folder / "raw"))
    retrieval = dataclasses.replace(
        retrieval,
        data=dataclasses.replace(retrieval.data, batch_size=8),
        retrieval=dataclasses.replace(retrieval.retrieval, queue_size=16),
    )
    data = dataclasses.replace(experiment.data, data_dir=str(folder / "prepared"))
    two = dataclasses.replace(experiment, data=data, mesh=WIDER)
    for name, config in {"meter": experiment, "blip": retrieval, "together.json": two}.items():
        (folder / name).write_text(json.dumps(to_dict(config)))

    here = pathlib.Path(__file__).parent
    flags = [f"--config={here / 'tiny_config.py'}:{folder / 'together.json'}", f"--workdir={folder / 'together'}"]
    started = start_together("-m", "smarttrim_jax.train", *flags, devices=4)
    (one,) = run_together(str(here / "mesh_runs.py"), str(folder), processes=1, devices=8)
    ended = wait_for(started)
    assert one.status == 0, one.stderr
    return folder, Together(folder / "together", ended)


@pytest.fixture(scope="module")
def meshes(on_eight_devices: tuple[pathlib.Path, Together]) -> pathlib.Path:
    """A folder for every mesh of eight devices in one process."""
    return on_eight_devices[0]


@pytest.fixture(scope="module")
def together(on_eight_devices: tuple[pathlib.Path, Together]) -> Together:
    """The run of two processes of four devices each; batches, parameters and moments are split over all."""
    return on_eight_devices[1]


def metrics(folder: pathlib.Path, after: int) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["step"] > after]


def params(folder: pathlib.Path) -> Any:
    return restore(folder / "checkpoints")


def assert_same_training(folder: pathlib.Path, other: pathlib.Path, after: int) -> None:
    """Every metric, the terms of the loss among them, and the parameters at the end.

    With a smaller eps Adam would turn what rounding leaves of a gradient of 0 into steps of full size.
    """
    ours, theirs = metrics(folder, after), metrics(other, after)
    assert [line["step"] for line in ours] == list(range(after + 1, theirs[-1]["step"] + 1))
    chex.assert_trees_all_close(ours, theirs, rtol=1e-5, atol=1e-5)
    chex.assert_trees_all_close(params(folder), params(other), atol=1e-4)


def test_the_meshes_split_parameters(meshes: pathlib.Path) -> None:
    split = json.loads((meshes / "split.json").read_text())
    assert split["8x1x1"] == 0
    assert all(split[name] > 20 for name in RUNS if name != "8x1x1"), split


@pytest.mark.parametrize("name", RUNS)
def test_eight_devices_train_as_one(meshes: pathlib.Path, finished: str, name: str) -> None:
    assert_same_training(meshes / name, pathlib.Path(finished), SECOND if name == "1x8x1" else FIRST)


def test_two_processes_of_four_devices_train_as_one_of_eight(meshes: pathlib.Path, together: Any) -> None:
    folder, ended = together
    assert [end.status for end in ended] == [0, 0], ended
    assert_same_training(folder, meshes / "1x8x1", SECOND)


def test_one_device_takes_up_what_eight_have_saved(meshes: pathlib.Path, finished: str) -> None:
    saved, other = (pathlib.Path(folder) / "checkpoints" for folder in (meshes / "2x4x1", finished))
    whole = restore(saved, step=SECOND, params_only=False)
    (one := saved.parent / "one").mkdir()
    shutil.copytree(saved / str(SECOND), one / str(SECOND))
    checkpoints = Checkpoints(one, every=1, keep=1)
    restored = checkpoints.restore_latest(
        jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), whole)
    )
    checkpoints.close()
    assert restored is not None
    step, state, position = restored
    assert step == SECOND
    assert all(leaf.sharding.device_set == {jax.devices()[0]} for leaf in jax.tree.leaves(state))
    chex.assert_trees_all_equal(jax.device_get(state), whole)
    assert position == contents(str(other / str(SECOND)))[1]["data_state"]
    chex.assert_trees_all_close(whole, restore(other, step=SECOND, params_only=False), atol=1e-4)


def test_retrieval_contrasts_and_draws_over_the_whole_batch(meshes: pathlib.Path) -> None:
    (expected, state), (ours, sharded) = pickle.loads((meshes / "blip.pickle").read_bytes())
    chex.assert_trees_all_close(ours, expected, rtol=1e-5, atol=1e-5)
    chex.assert_trees_all_close(sharded, state, atol=1e-4)
    assert expected[0]["task_full"] != expected[1]["task_full"]
