"""One flipped bit anywhere in a checkpoint: it never loads as something else, and is noticed where it can matter."""

import collections
import gc
import logging
import pathlib
import shutil
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.experiment import OptimizerConfig
from smarttrim_jax.training.checkpoint_reading import contents, restore, saved_steps
from smarttrim_jax.training.checkpoints import Checkpoints
from smarttrim_jax.training.optimizer import make_optimizer

RANDOM_PLACES, PLACES_OF_EACH_FILE = 50, 3


def make_state(seed: int) -> dict[str, Any]:
    """Parameters, moments and a step; one array is large enough for Orbax to write it apart from the small ones."""
    random = np.random.default_rng(seed)
    params = {
        "image": {"layers": {"kernel": jnp.asarray(random.standard_normal((2, 8, 24)), jnp.bfloat16)}},
        "head": {"kernel": jnp.asarray(random.standard_normal((60, 50)), jnp.float32), "bias": jnp.zeros(5)},
    }
    optimizer = make_optimizer(OptimizerConfig(), params, 10, lambda name: "backbone")
    return {"params": params, "opt_state": optimizer.init(params), "step": jnp.int32(seed)}


def save(directory: pathlib.Path, state: dict[str, Any], step: int) -> None:
    checkpoints = Checkpoints(directory, every=5, keep=2)
    checkpoints.save(step, state, {"next": step}, {"config": {"task": "vqa", "rates": [0.1, 1e-5]}})
    checkpoints.close()


def places(path: pathlib.Path, random: np.random.Generator) -> list[tuple[pathlib.Path, int]]:
    """Random bytes of a checkpoint's files: by their size, and some of each."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    sizes = np.array([file.stat().st_size for file in files])
    drawn = [files[i] for i in random.choice(len(files), RANDOM_PLACES, p=sizes / sizes.sum())]
    drawn += [file for file in files for _ in range(PLACES_OF_EACH_FILE)]
    return [(file, int(random.integers(file.stat().st_size))) for file in drawn]


# Of several parts of a checkpoint Orbax forgets to wait for the others where one cannot be read.
@pytest.mark.filterwarnings(
    "ignore:coroutine .* was never awaited", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.slow
def test_a_flipped_bit_is_noticed_or_harmless(tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture) -> None:
    state = make_state(1)
    save(tmp_path / "good", state, 5)
    path = pathlib.Path(saved_steps(tmp_path / "good")[5])
    beside = contents(str(path))[1]
    random, outcomes = np.random.default_rng(0), collections.Counter[str]()
    unnoticed = collections.Counter[str]()
    for number, (file, position) in enumerate(places(path, random)):
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(tmp_path / "good", copy)
        content = bytearray(file.read_bytes())
        content[position] ^= 1 << int(random.integers(8))
        (copy / file.relative_to(tmp_path / "good")).write_bytes(content)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            try:
                Checkpoints(copy, every=5, keep=2).close()
                loaded = restore(copy, params_only=False)
                assert contents(saved_steps(copy)[5])[1] == beside, file
                chex.assert_trees_all_equal(jax.tree.leaves(loaded), jax.tree.leaves(state))
                outcome = "said" if "some files changed" in caplog.text else "harmless"
            except CheckpointError:
                outcome = "refused"
        outcomes[f"{outcome}, {'random' if number < RANDOM_PLACES else 'each file'}"] += 1
        if outcome == "harmless":
            unnoticed[file.name] += 1
    print(dict(outcomes), dict(unnoticed))
    gc.collect()
    # Of what Orbax writes last, its times and names are read by nobody.
    assert set(unnoticed) <= {"_CHECKPOINT_METADATA", "commit_success.txt"}
