"""Closed tokens may leave memory in training: the same pass, the same gradients on average."""

import dataclasses
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import TinyMeter
from fresh_params import fresh_params
from tiny_run import decisive

from smarttrim_jax.tokens import Shortened
from smarttrim_jax.trimming.capacity import CapacityConfig
from smarttrim_jax.trimming.gates import Trim
from smarttrim_jax.trimming.trimmers import RunTrimming

HOLDS_ALL = CapacityConfig(image=1.0, text=1.0)
ROOMY = CapacityConfig(image=0.8, text=0.8)
NARROW = CapacityConfig(image=0.3, text=0.3)
DRAWS = 512


@pytest.fixture(scope="module")
def meter(fresh_meter: TinyMeter) -> TinyMeter:
    """Trims from the text's first layer on, and draws nothing but places."""
    config = fresh_meter.config
    trimming = dataclasses.replace(config.trimming, text=RunTrimming(first_layer=0))
    parts = {side: dataclasses.replace(getattr(config, side), dropout=0.0) for side in ("text", "fusion")}
    config = dataclasses.replace(config, trimming=trimming, scan=True, **parts)
    params = fresh_params(config)
    params["trimmers"] = decisive(params["trimmers"])
    return dataclasses.replace(fresh_meter, config=config, params=params)


def dial(capacity: CapacityConfig) -> Trim:
    """Sampled without noise, so that every pass takes the same decisions."""
    return Trim(offset=-2.0, noise=0.0, capacity=capacity)


def train_pass(meter: TinyMeter, params: Any, capacity: CapacityConfig, key: jax.Array) -> Any:
    return meter.model.apply(params, *meter.batch, trim=dial(capacity), key=key)


@pytest.fixture(scope="module")
def passes(meter: TinyMeter) -> Any:
    run = jax.jit(lambda capacity: train_pass(meter, meter.params, capacity, jax.random.key(3)), static_argnums=0)
    return {capacity: run(capacity) for capacity in (CapacityConfig(), ROOMY, NARROW)}


def test_the_pass_is_the_masked_one_where_open_tokens_fit(meter: TinyMeter, passes: Any) -> None:
    masked, short = passes[CapacityConfig()], passes[ROOMY]
    assert {side: tokens.values.shape[1] for side, tokens in short.state.items()} == {"image": 14, "text": 8}
    assert all(isinstance(tokens, Shortened) for tokens in short.state.values())
    assert (masked.record.gates["image"].tokens[1].sum(-1) < 14).all()
    chex.assert_trees_all_equal(short.record, masked.record)
    np.testing.assert_array_equal(meter.model.macs(short.record), meter.model.macs(masked.record))
    np.testing.assert_allclose(short.logits["vqa"], masked.logits["vqa"], atol=1e-5)
    assert short.record.overflow(ROOMY) == 0


def test_what_does_not_fit_is_closed_and_told(passes: Any) -> None:
    masked, short = passes[CapacityConfig()].record, passes[NARROW].record
    lost, opened = 0.0, 0.0
    for side, layer, places in (("image", 2, 6), ("text", 1, 3)):
        before, after = short.gates[side].tokens[layer - 1], short.gates[side].tokens[layer]
        np.testing.assert_array_equal(before, masked.gates[side].tokens[layer - 1])
        assert (after <= before).all()
        assert (after[:, 0] == 1).all()
        assert after.sum(-1).max() <= places
        lost += np.maximum(before.sum(-1) - places, 0).sum()
        opened += before.sum()
    assert 0 < lost < opened
    np.testing.assert_allclose(short.overflow(NARROW), lost / opened, rtol=1e-6)
    assert np.isfinite(passes[NARROW].logits["vqa"]).all()


@pytest.fixture(scope="module")
def gradient(meter: TinyMeter) -> Any:
    """The gradient of task and cost by capacity and keys, of all trimmers and of what they read first."""

    def loss(parts: Any, capacity: CapacityConfig, key: jax.Array) -> jax.Array:
        output = train_pass(meter, meter.params | {"trimmers": parts["trimmers"], "image": parts["image"]}, capacity, key)
        ratio = jnp.mean(meter.model.macs(output.record)) / 2e6
        return -jax.nn.log_softmax(output.logits["vqa"])[:, 0].mean() + (ratio - 0.5) ** 2

    parts = {name: meter.params[name] for name in ("trimmers", "image")}

    def draw(capacity: CapacityConfig, keys: jax.Array) -> jax.Array:
        def one(key: jax.Array) -> jax.Array:
            gradients = jax.grad(loss)(parts, capacity, key)
            chosen = gradients["trimmers"], gradients["image"]["patch_embedding"]
            return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(chosen)])

        return jax.lax.map(one, keys, batch_size=64)

    return jax.jit(draw, static_argnums=0)


@pytest.fixture(scope="module")
def masked(gradient: Any) -> np.ndarray:
    return np.asarray(gradient(CapacityConfig(), jax.random.split(jax.random.key(5), 1))[0])


def test_with_room_for_all_the_gradients_are_the_masked_ones(gradient: Any, masked: np.ndarray) -> None:
    (ours,) = gradient(HOLDS_ALL, jax.random.split(jax.random.key(5), 1))
    np.testing.assert_allclose(ours, masked, atol=1e-5 * np.abs(masked).max())


def test_with_less_room_they_are_on_average(gradient: Any, masked: np.ndarray) -> None:
    drawn = np.asarray(gradient(ROOMY, jax.random.split(jax.random.key(6), DRAWS)), np.float64)
    mean, error = drawn.mean(0), drawn.std(0) / np.sqrt(DRAWS)
    differs = error > 1e-5 * np.abs(masked).max()
    assert differs.mean() > 0.5
    away = np.abs(mean - masked)
    assert (away[differs] / error[differs]).max() < 5
    np.testing.assert_allclose(mean[~differs], masked[~differs], atol=1e-4 * np.abs(masked).max())
    assert np.linalg.norm(away) < 0.03 * np.linalg.norm(masked)
