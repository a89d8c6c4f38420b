"""Closed tokens may leave memory in training: the same pass, and on average the same gradients."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smarttrim_jax.models.segments import begin
from smarttrim_jax.tokens import Padded
from smarttrim_jax.trimming.capacity import CapacityConfig
from smarttrim_jax.trimming.gates import GateKey, Trim, TrimRecord
from smarttrim_jax.trimming.macs import LayerShape, layer_macs

DRAWS = 512
IMAGE = GateKey("image", "image")


def dial(capacity: CapacityConfig, offset: float) -> Trim:
    """Sampled without noise, so that every pass takes the same decisions."""
    return Trim(offset=offset, noise=0.0, capacity=capacity)


def test_the_pass_is_the_masked_one_where_open_tokens_fit(tiny_meter: Any, training_key: jax.Array) -> None:
    """Of the image closed tokens leave, of the text padding."""
    capacity, config = CapacityConfig(image=0.75, text=0.9), tiny_meter.config
    parts = {side: dataclasses.replace(getattr(config, side), dropout=0.0) for side in ("text", "fusion")}
    meter, trim = tiny_meter.with_config(scan=True, **parts), dial(capacity, -6.0)
    run = jax.jit(lambda params: meter.model.apply(params, *meter.batch, trim=trim, key=training_key))
    short, masked = run(meter.params), tiny_meter.run(Trim(-6.0))
    assert {side: tokens.values.shape[1] for side, tokens in short.state.items()} == {"image": 13, "text": 9}
    for key in (("image", "image"), ("text", "text"), ("fusion", "image")):
        assert 0 < masked.record.gates[key].tokens[-1].mean() < 1
    chex.assert_trees_all_equal(short.record, masked.record)
    np.testing.assert_array_equal(*[meter.model.macs(output.record) for output in (short, masked)])
    np.testing.assert_allclose(short.logits["vqa"], masked.logits["vqa"], atol=1e-5)
    assert short.record.overflow(capacity) == 0


@pytest.fixture(scope="module")
def image_run(tiny_meter: Any) -> Any:
    """Of an offset, a capacity and keys: loss, its gradients and the gates, of the image encoder alone."""
    meter = tiny_meter.with_config(scan=True)
    vision, rng = meter.config.vision, np.random.default_rng(0)
    shape = LayerShape(vision.width, vision.heads, vision.mlp_width)
    wanted = jnp.asarray(rng.normal(size=(4, vision.width)), jnp.float32)
    first = {
        "values": jnp.asarray(rng.normal(size=(4, 17, vision.width)), jnp.float32),
        "trimmers": meter.params["trimmers"],
    }

    def loss(first: Any, trim: Trim, key: jax.Array) -> Any:
        model = meter.model.bind(meter.params | {"trimmers": first["trimmers"]})
        start = begin({"image": Padded(first["values"], jnp.ones((4, 17)))})
        state, gates = model.stages[0](start.state, start.examples, trim, key)
        cost = jnp.mean(layer_macs(gates["image", "image"], shape)) / 1e5
        return jnp.mean(state["image"].global_token * wanted) + (cost - 1.0) ** 2, gates["image", "image"]

    def run(trim: Trim, keys: jax.Array) -> Any:
        def one(key: jax.Array) -> Any:
            gradients, gates = jax.grad(loss, has_aux=True)(first, trim, key)
            of_image = gradients["values"], gradients["trimmers"]["image"]
            return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(of_image)]), gates

        return jax.lax.map(one, keys)

    compiled = jax.jit(run)
    return lambda capacity, keys, offset=-6.0: jax.device_get(compiled(dial(capacity, offset), keys))


@pytest.fixture(scope="module")
def masked(image_run: Any) -> Any:
    gradients, gates = image_run(CapacityConfig(after=0.7), keys(1))
    return gradients[0], gates


def keys(count: int) -> jax.Array:
    return jax.random.split(jax.random.key(1), count)


@pytest.mark.slow
def test_with_room_for_all_the_gradients_are_the_masked_ones(image_run: Any, masked: Any) -> None:
    ours, _ = image_run(CapacityConfig(image=1.0, after=0.7), keys(1))
    np.testing.assert_allclose(ours[0], masked[0], atol=1e-5 * np.abs(masked[0]).max())


@pytest.mark.slow
def test_with_less_room_they_are_on_average(image_run: Any, masked: Any) -> None:
    expected, gates = masked
    assert (gates.tokens[0, 1].sum(-1) < 14).all()  # of 14: some closed ones leave, some stay
    drawn, _ = image_run(CapacityConfig(image=0.8, after=0.7), keys(DRAWS))
    drawn = drawn.astype(np.float64)
    scale = np.abs(expected).max()
    away, error = np.abs(drawn.mean(0) - expected), drawn.std(0) / np.sqrt(DRAWS)
    differs = error > 1e-6 * scale
    assert differs.mean() > 0.3
    assert (away[differs] / error[differs]).max() < 5
    assert away[~differs].max() < 1e-5 * scale
    assert np.linalg.norm(away) < 0.03 * np.linalg.norm(expected)


@pytest.mark.slow
def test_what_does_not_fit_is_closed_and_told(image_run: Any) -> None:
    capacity = CapacityConfig(image=0.8, after=0.7)
    gradients, gates = image_run(capacity, keys(DRAWS), 20.0)
    assert np.isfinite(gradients).all()
    tokens = gates.tokens[0]
    np.testing.assert_array_equal(tokens[1].sum(-1), 17)
    np.testing.assert_array_equal(tokens[2].sum(-1), 14)
    np.testing.assert_array_equal(tokens[:, :, 0], 1)
    record = TrimRecord({IMAGE: dataclasses.replace(gates, tokens=tokens)}, {IMAGE: np.ones((4, 17))})
    np.testing.assert_allclose(record.overflow(capacity), 3 / 17, rtol=1e-6)
