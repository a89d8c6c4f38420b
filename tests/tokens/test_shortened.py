"""Shortened tokens are the padded ones without some that are closed, and their gates stand for all."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smarttrim_jax.tokens import Padded, Shortened, shorten

LENGTH, PLACES, DRAWS = 12, 7, 4096
OPEN = np.array([[0, 3, 4, 7, 8], [0, 1, 2, 11, 11], [0, 0, 0, 0, 0]])  # of every example, some twice
PADDING = np.array([12, 12, 6])  # from there on
FLOAT = np.float32


@pytest.fixture(scope="module")
def padded() -> Padded:
    """Random vectors with few open tokens."""
    gate = np.zeros((3, LENGTH), FLOAT)
    np.put_along_axis(gate, OPEN, 1.0, axis=1)
    values = np.random.default_rng(0).normal(size=(3, LENGTH, 4))
    return Padded(jnp.asarray(values, jnp.float32), jnp.asarray(gate))


@pytest.fixture(scope="module")
def present() -> jax.Array:
    return jnp.asarray(np.arange(LENGTH) < PADDING[:, None], jnp.float32)


@pytest.fixture(scope="module")
def shortened(present: jax.Array) -> Any:
    """The function of tokens and key, by places."""
    return functools.cache(
        lambda places: jax.jit(lambda tokens, key: shorten(tokens, present, places, key)),
    )


def test_a_layer_finds_every_open_token_where_it_was(padded: Padded, shortened: Any) -> None:
    short: Shortened = shortened(PLACES)(padded, jax.random.key(0))
    opened = padded.gate[..., None]
    assert short.values.shape == (3, PLACES, 4)
    assert short.shape == padded.shape
    np.testing.assert_array_equal(short.padded_gate, padded.gate)
    np.testing.assert_array_equal(short.counts, padded.counts)
    np.testing.assert_array_equal(short.global_token, padded.global_token)
    np.testing.assert_array_equal(short.pad(short.values) * opened, padded.values * opened)
    assert (np.diff(short.position, axis=1) > 0).all()

    decision = jnp.asarray(np.random.default_rng(1).integers(0, 2, (3, LENGTH)), jnp.float32)
    np.testing.assert_array_equal(
        short.close(short.look_up(decision)).padded_gate, padded.close(decision).padded_gate
    )
    for again in (lambda tokens: tokens.repeat(2), lambda tokens: tokens.take(jnp.array([2, 0, 2]))):
        np.testing.assert_array_equal(again(short).padded_gate, again(padded).gate)
        np.testing.assert_array_equal(again(short).position[-1], short.position[2])


def test_padding_leaves_first(padded: Padded, present: jax.Array, shortened: Any) -> None:
    short = shortened(PLACES)(padded, jax.random.key(0))
    np.testing.assert_array_equal(np.sort(short.position[2])[:6], np.arange(6))  # all that are no padding


def test_a_drawn_gate_stands_for_all_closed_ones(padded: Padded, present: jax.Array) -> None:
    """Over many draws, the gradient of a sum with random weights is that without any draw."""
    weight = jnp.asarray(np.random.default_rng(2).normal(size=(3, LENGTH)), jnp.float32)

    def total(gate: jax.Array, key: jax.Array) -> jax.Array:
        short = shorten(Padded(padded.values, gate), present, PLACES, key)
        return jnp.sum(short.padded_gate * weight)

    gradients = jax.jit(jax.vmap(jax.grad(total), (None, 0)))(padded.gate, jax.random.split(jax.random.key(0), DRAWS))
    mean, spread = np.mean(gradients, axis=0), np.std(gradients, axis=0) / np.sqrt(DRAWS)
    expected, counted = np.asarray(weight), np.asarray(present) > 0
    assert (np.abs(mean - expected) < 4 * spread + 1e-6)[counted].all()
    assert spread.max() < 0.05
    for row in range(3):  # what is always there is exact
        opened = OPEN[row]
        np.testing.assert_allclose(mean[row, opened], expected[row, opened], rtol=1e-6)
    np.testing.assert_allclose(mean[2, :6], expected[2, :6], rtol=1e-6)


def test_what_does_not_fit_is_drawn_and_closed(padded: Padded, shortened: Any) -> None:
    keys = jax.random.split(jax.random.key(0), 400)
    gates = np.array([shortened(3)(padded, key).padded_gate for key in keys])
    assert (gates <= np.asarray(padded.gate)).all()
    assert (gates[..., 0] == 1).all()
    np.testing.assert_array_equal(gates.sum(-1), np.broadcast_to([3, 3, 1], (400, 3)))
    np.testing.assert_allclose(gates.mean(0)[0, [3, 4, 7, 8]], 0.5, atol=0.1)  # two of four
