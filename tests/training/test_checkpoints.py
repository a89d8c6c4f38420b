"""Checkpoints come back bit for bit, or say what is wrong with them."""

import contextlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_run

from smarttrim_jax.errors import CheckpointError, ConfigError, TrainingError
from smarttrim_jax.experiment import OptimizerConfig
from smarttrim_jax.training import checkpoints as checkpoints_module
from smarttrim_jax.training.checkpoint_files import list_files
from smarttrim_jax.training.checkpoint_reading import metadata, restore, saved_steps
from smarttrim_jax.training.checkpoints import Checkpoints
from smarttrim_jax.training.optimizer import make_optimizer

METADATA = {"config": {"task": "vqa", "rates": [1.0, 0.5]}, "calibration": {"2.0": -0.25}}


@pytest.fixture
def checkpoints(tmp_path: pathlib.Path) -> Iterator[Checkpoints]:
    checkpoints = Checkpoints(tmp_path / "checkpoints", every=5, keep=2)
    yield checkpoints
    checkpoints.close()


def make_state(seed: int = 0) -> toy_run.TrainState:
    random = np.random.default_rng(seed)
    params = {
        "image": {"layers": {"kernel": jnp.asarray(random.standard_normal((2, 3, 4)), jnp.bfloat16)}},
        "head": {"kernel": jnp.asarray(random.standard_normal((4, 2)), jnp.float32)},
    }
    optimizer = make_optimizer(OptimizerConfig(accumulate=2, clip_norm=1.0), params, 10, lambda name: "backbone")
    key = jax.random.key_data(jax.random.key(seed))
    return {"params": params, "opt_state": optimizer.init(params), "multiplier": jnp.float32(0.1), "key": key}


def make_small_state(seed: int) -> toy_run.TrainState:
    return {"params": {"kernel": jnp.full(4, float(seed))}, "count": jnp.int32(seed)}


def damage(path: str, names: str = "params/**/d/*", old: bytes = b"", new: bytes = b"") -> None:
    """Changes files of a checkpoint, by default those of its parameters' values; without `old` they are emptied."""
    for file in pathlib.Path(path).glob(names):
        file.write_bytes(file.read_bytes().replace(old, new) if old else b"")


def test_state_data_position_and_metadata_come_back_exactly(checkpoints):
    state = make_state()
    checkpoints.save(5, state, {"next": 40, "inner": [1, "a"]}, METADATA)
    step, restored, data_state = checkpoints.restore_latest(make_state(seed=1))
    assert (step, data_state) == (5, {"next": 40, "inner": [1, "a"]})
    chex.assert_trees_all_equal_dtypes(restored, state)
    chex.assert_trees_all_equal(restored, state)
    assert metadata(checkpoints.directory) == METADATA


def test_a_state_given_away_after_the_save_is_saved_as_it_was(checkpoints):
    state = {"params": {"kernel": jnp.arange(2.0**20)}}
    expected = np.array(state["params"]["kernel"])
    step = jax.jit(lambda s: jax.tree.map(lambda x: x * -1, s), donate_argnums=0)
    checkpoints.save(1, state, None, {})
    for _ in range(3):
        state = step(state)
    checkpoints.wait()
    np.testing.assert_array_equal(restore(checkpoints.directory)["kernel"], expected)


def test_nothing_saved_is_none_and_said_to_readers(checkpoints):
    assert checkpoints.latest is None
    assert checkpoints.restore_latest(make_state()) is None
    with pytest.raises(CheckpointError, match="no checkpoint found in"):
        restore(checkpoints.directory)
    with pytest.raises(CheckpointError, match="no checkpoint found in 'nowhere'"):
        metadata("nowhere")


def test_only_the_latest_are_kept_and_any_of_them_opens_in_host_memory(checkpoints):
    states = {step: make_state(step) for step in (5, 10, 15)}
    for step, state in states.items():
        checkpoints.save(step, state, None, {"step": step})
    checkpoints.wait()
    assert list(saved_steps(checkpoints.directory)) == [10, 15]
    chex.assert_trees_all_equal(restore(checkpoints.directory), states[15]["params"])
    chex.assert_trees_all_equal(restore(checkpoints.directory, step=10), states[10]["params"])
    whole = restore(checkpoints.directory, step=10, params_only=False)
    np.testing.assert_array_equal(whole["key"], states[10]["key"])
    assert isinstance(whole["params"]["head"]["kernel"], np.ndarray)
    assert metadata(checkpoints.directory, step=10) == {"step": 10}
    with pytest.raises(CheckpointError, match=r"no checkpoint of step 5 .* there are: 10, 15"):
        restore(checkpoints.directory, step=5)


@pytest.mark.parametrize(
    "what",
    [
        ("params/**/d/*",),
        ("_CHECKPOINT_METADATA",),
        ("_CHECKPOINT_METADATA", b"init_timestamp", b"init_tamestamp"),
        ("params/_METADATA",),
    ],
    ids=str,
)
def test_a_damaged_checkpoint_is_passed_over_aloud_and_written_anew(tmp_path, what, caplog):
    with contextlib.closing(Checkpoints(tmp_path, every=5, keep=2)) as checkpoints:
        for step in (5, 10):
            checkpoints.save(step, make_small_state(step), {"next": step}, {})
    damage(saved_steps(tmp_path)[10], *what)
    with contextlib.closing(Checkpoints(tmp_path, every=5, keep=2)) as checkpoints:
        check_that_it_is_passed_over_and_written_anew(checkpoints, caplog)


def check_that_it_is_passed_over_and_written_anew(checkpoints, caplog):
    step, state, data_state = checkpoints.restore_latest(make_small_state(0))
    assert (step, data_state) == (5, {"next": 5})
    chex.assert_trees_all_equal(state, make_small_state(5))
    assert "10' is damaged" in caplog.text
    assert "trying the checkpoint before it" in caplog.text
    checkpoints.save(10, make_small_state(11), {"next": 10}, {})
    chex.assert_trees_all_equal(checkpoints.restore_latest(make_small_state(0))[1], make_small_state(11))


def change(path: str, **changes: object) -> None:
    """Changes what was saved beside a checkpoint's arrays."""
    file = pathlib.Path(path) / "_CHECKPOINT_METADATA"
    content = json.loads(file.read_text())
    content["custom_metadata"] |= changes
    file.write_text(json.dumps(content))


def exchange_arrays(path: str, other: str) -> None:
    """Gives a checkpoint whole and readable arrays, but another's, its list of files too."""
    for part in ("params", "training"):
        shutil.rmtree(pathlib.Path(path) / part)
        shutil.copytree(pathlib.Path(other) / part, pathlib.Path(path) / part)
    list_files(path)


def test_other_arrays_than_were_saved_are_damage_and_passed_over(checkpoints, caplog):
    for step in (5, 10):
        checkpoints.save(step, make_small_state(step), {"next": step}, {})
    checkpoints.wait()
    exchange_arrays(*reversed(saved_steps(checkpoints.directory).values()))
    with pytest.raises(CheckpointError, match=r"10' is damaged: other values .* in params/kernel; run the same"):
        restore(checkpoints.directory)
    with pytest.raises(CheckpointError, match="in count, params/kernel"):
        restore(checkpoints.directory, params_only=False)
    step, state, _ = checkpoints.restore_latest(make_small_state(0))
    assert step == 5
    chex.assert_trees_all_equal(state, make_small_state(5))
    assert "10' is damaged: other values than were saved" in caplog.text
    # What was passed over is neither called good nor counted as one of those kept.
    assert checkpoints.latest == str(pathlib.Path(checkpoints.directory) / "5")
    checkpoints.save(7, make_small_state(7), {"next": 7}, {})
    checkpoints.wait()
    assert list(saved_steps(checkpoints.directory)) == [5, 7]


@pytest.mark.parametrize("what", ["data_state", "metadata", "digests", "digest"])
def test_a_change_beside_the_arrays_is_damage(checkpoints, what):
    checkpoints.save(5, make_small_state(0), {"next": 5}, {"config": {}})
    checkpoints.wait()
    change(checkpoints.latest, **{what: {"next": 4}})
    with pytest.raises(CheckpointError, match=r"5' is damaged .*what was saved beside its arrays was changed"):
        restore(checkpoints.directory)


def test_a_checkpoint_without_digests_is_taken_as_it_is_and_one_line_says_so(checkpoints, caplog):
    checkpoints.save(5, make_small_state(3), {"next": 5}, {"config": {}})
    checkpoints.wait()
    file = pathlib.Path(checkpoints.latest) / "_CHECKPOINT_METADATA"
    content = json.loads(file.read_text())
    content["custom_metadata"] = {name: content["custom_metadata"][name] for name in ("data_state", "metadata")}
    file.write_text(json.dumps(content))
    assert checkpoints.restore_latest(make_small_state(0))[0] == 5
    assert caplog.text.count("was saved without digests") == 1


def test_a_state_that_is_not_finite_is_not_saved_and_named(checkpoints):
    checkpoints.save(5, make_state(), None, {})
    bad = make_state()
    bad["params"]["head"]["kernel"] = bad["params"]["head"]["kernel"].at[1, 1].set(jnp.inf)
    bad["multiplier"] = jnp.float32(jnp.nan)
    with pytest.raises(TrainingError) as stopped:
        checkpoints.save(10, bad, None, {})
    good = pathlib.Path(checkpoints.directory) / "5"
    assert str(stopped.value).startswith("step 10: not finite after the update: multiplier, params/head/kernel; ")
    assert f"the last good checkpoint is {good}; " in str(stopped.value)
    assert list(saved_steps(checkpoints.directory)) == [5]


def test_a_checkpoint_of_before_that_is_not_finite_is_not_called_good(checkpoints, monkeypatch, caplog):
    checkpoints.save(5, make_small_state(5), {"next": 5}, {})
    monkeypatch.setattr(checkpoints_module, "not_finite", lambda summaries: [])
    checkpoints.save(10, {"params": {"kernel": jnp.full(4, jnp.nan)}, "count": jnp.int32(10)}, {"next": 10}, {})
    checkpoints.wait()
    assert checkpoints.restore_latest(make_small_state(0))[0] == 5
    assert "10' is of no use: not finite: params/kernel" in caplog.text


def half_delete(path: pathlib.Path, names: tuple[str, ...]) -> None:
    """Leaves of a checkpoint what a kill might."""
    for name in names:
        for found in list(path.glob(name)):
            if found.is_dir():
                shutil.rmtree(found)
            else:
                found.unlink()


@pytest.mark.parametrize(
    "names",
    [
        ("commit_success.txt",),
        ("_CHECKPOINT_METADATA", "files.json"),
        ("params",),
        ("params/d",),
        ("params/d/*", "files.json"),
        ("*/array_metadatas",),
        ("*",),
    ],
)
def test_half_deleted_old_checkpoints_are_removed_at_the_next_start(tmp_path, names, caplog):
    with contextlib.closing(Checkpoints(tmp_path, every=5, keep=3)) as checkpoints:
        for step in (5, 10, 15):
            checkpoints.save(step, make_small_state(step), None, {})
    half_delete(tmp_path / "5", names)
    theirs = tmp_path / "3"
    theirs.mkdir()
    (theirs / "notes.txt").write_text("not a checkpoint")
    Checkpoints(tmp_path, every=5, keep=3).close()
    assert sorted(os.listdir(tmp_path)) == ["10", "15", "3"]
    assert (theirs / "notes.txt").exists()
    assert "removing old checkpoints that were half deleted: 5\n" in caplog.text


def test_the_only_good_checkpoint_and_later_ones_are_never_removed(tmp_path):
    with contextlib.closing(Checkpoints(tmp_path, every=5, keep=3)) as checkpoints:
        for step in (5, 10):
            checkpoints.save(step, make_small_state(step), None, {})
    half_delete(tmp_path / "10", ("params",))
    with contextlib.closing(Checkpoints(tmp_path, every=5, keep=3)) as checkpoints:
        assert list(saved_steps(tmp_path)) == [5, 10]
        assert checkpoints.restore_latest(make_small_state(0))[0] == 5
    half_delete(tmp_path / "5", ("params",))
    Checkpoints(tmp_path, every=5, keep=3).close()
    assert list(saved_steps(tmp_path)) == [5, 10]


def test_when_all_are_damaged_the_run_stops_instead_of_starting_over(checkpoints):
    checkpoints.save(5, make_small_state(0), None, {})
    checkpoints.wait()
    damage(checkpoints.latest)
    with pytest.raises(CheckpointError, match="5' is damaged"):
        checkpoints.restore_latest(make_small_state(0))
    with pytest.raises(CheckpointError, match="5' is damaged"):
        restore(checkpoints.directory)


@pytest.mark.parametrize("name", ["array", "_CHECKPOINT_METADATA", "everything"])
def test_a_cut_or_missing_file_is_named_with_what_mends_it(checkpoints, name, caplog, capfd):
    checkpoints.save(5, make_small_state(0), None, {})
    checkpoints.wait()
    folder = pathlib.Path(checkpoints.latest)
    file = next(file for file in folder.glob("params/**/d/*") if file.stat().st_size > 1)
    if name == "array":
        os.truncate(file, file.stat().st_size - 1)
        name = str(file.relative_to(folder))
    elif name == "everything":
        shutil.rmtree(folder)
        folder.mkdir()
        name = "_CHECKPOINT_METADATA"
    else:
        (folder / name).unlink()
    for read in (restore, metadata):
        with pytest.raises(
            CheckpointError, match=r"5' is damaged: files are missing or cut: (.*); run the same"
        ) as said:
            read(checkpoints.directory)
        assert name in str(said.value)
        assert len(str(said.value)) < 500
    assert caplog.text + "".join(capfd.readouterr()) == ""


def test_a_folder_without_its_metadata_is_damaged(checkpoints):
    checkpoints.save(5, make_state(), None, {})
    checkpoints.wait()
    for file in pathlib.Path(checkpoints.latest).glob("_CHECKPOINT_METADATA"):
        file.write_text(json.dumps({}))
    with pytest.raises(CheckpointError, match="5' is damaged"):
        metadata(checkpoints.directory)


def test_all_differences_to_another_model_are_named_at_once(checkpoints):
    state = make_state()
    checkpoints.save(5, state, None, {})
    params = {"image": state["params"]["image"], "head": {"kernel": jnp.zeros((4, 7)), "bias": jnp.zeros(7)}}
    expected = {**state, "params": params}
    del expected["multiplier"]
    with pytest.raises(CheckpointError) as error:
        checkpoints.restore_latest(expected)
    message = str(error.value)
    assert "3 arrays differ" in message
    assert "params/head/bias [7] is missing" in message
    assert "multiplier [] is unexpected" in message
    assert "params/head/kernel is [4, 2], needed is [4, 7]" in message


def test_long_lists_of_differences_are_cut_and_counted(checkpoints):
    checkpoints.save(5, {"params": {f"layer_{i:02}": jnp.zeros(2) for i in range(14)}}, None, {})
    with pytest.raises(CheckpointError, match=r"14 arrays differ: .*layer_09 .*; and 4 more$"):
        checkpoints.restore_latest({"params": {f"layer_{i:02}": jnp.zeros(3) for i in range(14)}})


def test_a_directory_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot write checkpoints to '.*file/inside': Not a directory"):
        Checkpoints(tmp_path / "file" / "inside", every=1, keep=1)
    with pytest.raises(ConfigError, match="keep >= 1"):
        Checkpoints(tmp_path, every=1, keep=0)


def test_a_full_disk_leaves_the_earlier_checkpoints_good_and_says_so(tmp_path):
    stopped = toy_run.run_in_process(tmp_path, "disk full")
    assert stopped.returncode == 1, stopped.stderr
    directory = tmp_path / "checkpoints"
    assert "a checkpoint could not be written" in stopped.stdout
    assert "File too large" in stopped.stdout
    assert f"the last good one is {directory / '5'}" in stopped.stdout
    assert list(saved_steps(directory)) == [5]
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    chex.assert_tree_all_finite(restore(copy))
    toy_run.run(tmp_path)
    assert list(saved_steps(directory)) == [15, 20]
