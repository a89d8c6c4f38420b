"""Eight devices train as one, however they are arranged, in one process or in two."""

import json
import pathlib
import pickle
import shutil
from typing import Any

import chex
import jax
import pytest
from mesh_runs import FIRST, MESHES, SECOND

from smarttrim_jax.training.checkpoint_reading import contents, restore
from smarttrim_jax.training.checkpoints import Checkpoints

RUNS = (*MESHES, "1x8x1")


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
