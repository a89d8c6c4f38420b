"""The examples of the manual, run as they are written, with a tiny model in place of METER base."""

import contextlib
import dataclasses
import io
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from documents import python_blocks
from fresh_params import fresh_params
from packed_output import COARSE

import smarttrim_jax
from smarttrim_jax import Functional, HeadConfig, MeterConfig, Output, Trim, TrimmingConfig, meter_tiny
from smarttrim_jax.inference import PackedExecutor
from smarttrim_jax.models.functional import Params

BFLOAT16_TOLERANCE = 0.04
"""Of a logit, where all decisions agree; docs/method.md states it."""


def meter_of_tiny_sizes(image_size: int, **settings: Any) -> MeterConfig:
    """What the examples take for METER base: pictures of the size they say, in few and large patches."""
    config = meter_tiny(image_size, **settings)
    vision = dataclasses.replace(config.vision, patch_size=96)
    text = dataclasses.replace(config.text, vocab_size=100)
    fusion = dataclasses.replace(config.fusion, depth=1)
    return dataclasses.replace(config, vision=vision, text=text, fusion=fusion)


class QuicklyStarted(Functional):
    """`Functional` whose parameters are drawn without compiling anything."""

    def init(self, key: jax.Array) -> Params:
        return fresh_params(self.config)


def run_blocks(blocks: list[str]) -> dict[str, Any]:
    """Runs examples of docs/your_own_model.md one after the other, and returns the names that they leave behind."""
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(smarttrim_jax, "meter_base", meter_of_tiny_sizes)
        patch.setattr(smarttrim_jax, "Functional", QuicklyStarted)
        for block in blocks:
            exec(compile(block, "docs/your_own_model.md", "exec"), names)
    return names


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    """What the first two examples leave behind: a padded and a packed pass."""
    return run_blocks(python_blocks("docs/your_own_model.md")[:2])


def decisions(output: Output) -> np.ndarray:
    """All gates of each example, `[batch, gates]`."""
    parts = [part for gates in output.record.gates.values() for part in (gates.tokens, *gates.modules.values())]
    return np.concatenate([np.moveaxis(part, 1, 0).reshape(part.shape[1], -1) for part in parts], axis=1)


def test_the_example_trims_one_picture_and_not_the_other(example: dict[str, Any]) -> None:
    kept = example["trimmed"].record.gates["image", "image"].tokens.sum(axis=-1)  # [layers, batch]
    np.testing.assert_array_equal(kept, [[17, 17], [17, 1]])  # the first layer does not trim; the global token stays


def test_the_packed_example_agrees_with_the_padded_one(example: dict[str, Any]) -> None:
    np.testing.assert_array_equal(decisions(example["output"]), decisions(example["trimmed"]))
    np.testing.assert_allclose(example["output"].logits["vqa"], example["trimmed"].logits["vqa"], atol=1e-4)


def test_the_trimmer_of_the_example_stands_alone() -> None:
    block = "import jax.numpy as jnp\nfrom smarttrim_jax import Trim\n" + python_blocks("docs/your_own_model.md")[-1]
    np.testing.assert_array_equal(run_blocks([block])["gate"], np.ones((2, 50)))


@pytest.mark.slow
def test_the_loop_of_the_example_learns_and_its_dial_is_measured() -> None:
    example = run_blocks(python_blocks("docs/your_own_model.md"))
    assert np.isfinite(example["total"])
    before = jax.tree.leaves(fresh_params(example["config"]))
    moved = [abs(old - new).max() for old, new in zip(before, jax.tree.leaves(example["params"]), strict=True)]
    assert max(moved) == pytest.approx(1e-5, rel=0.1)  # AdamW's first update is the learning rate
    assert example["dial"].ratio_at(16.0) > example["dial"].ratio_at(-16.0)


@pytest.mark.slow
def test_in_bfloat16_only_decisions_at_the_threshold_may_differ() -> None:
    config = meter_of_tiny_sizes(
        384, heads=(HeadConfig("vqa", "classifier", 13),), trimming=TrimmingConfig(), dtype="bfloat16"
    )
    model = Functional(config)
    params = fresh_params(config)
    images = jax.random.normal(jax.random.key(1), (8, 384, 384, 3))
    ids = jax.random.randint(jax.random.key(2), (8, 50), 3, 100)
    mask = (jnp.arange(50) < jnp.array([50, 40, 30, 20, 50, 9, 25, 14])[:, None]).astype(jnp.int32)
    padded = jax.jit(model.apply)
    packed = PackedExecutor(model, params, COARSE)

    def compared(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which decisions differ, `[batch, gates]`, and by how much a logit of each example does, `[batch]`."""
        trim = Trim(offset=jnp.asarray(offsets, jnp.float32))
        one = jax.device_get(padded(params, images, ids, mask, trim=trim))
        other = jax.device_get(packed(images, ids, mask, trim=trim))
        logits = [output.logits["vqa"].astype(np.float32) for output in (one, other)]
        return decisions(one) != decisions(other), abs(logits[0] - logits[1]).max(axis=-1)

    differs, distance = compared(np.tile([-4.0, -6.0], 4))  # far from where untrained trimmers stand
    assert not differs.any()
    assert distance.max() <= BFLOAT16_TOLERANCE

    differs, distance = compared(np.full(8, -4.98))  # amid them
    assert differs.mean() <= 0.01
    assert distance[~differs.any(axis=1)].max() <= BFLOAT16_TOLERANCE
