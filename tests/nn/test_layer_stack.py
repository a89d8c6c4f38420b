"""Runs of layers: `late` companions, and the same numbers scanned or unrolled."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from smarttrim_jax.nn.layer_stack import fold, stack, unstack


class Scale(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.factor = nnx.Param(jax.random.uniform(rngs.params(), (3,)))


def step(layer: Any, companion: Any, carry: jax.Array, offset: jax.Array) -> tuple[jax.Array, jax.Array]:
    extra = 0.0 if companion is None else companion.factor[...]
    carry = carry * layer.factor[...] + extra + offset
    return carry, carry


def test_stacked_layers_start_from_different_weights() -> None:
    layers = stack(Scale, 4, nnx.Rngs(0))
    assert len(np.unique(layers.factor[...])) == 12


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("first", [0, 1, 4, 9])
def test_fold_is_a_loop_whose_companions_join_late(first: int, scan: bool) -> None:
    depth = 4
    layers = stack(Scale, depth, nnx.Rngs(0))
    late = stack(Scale, max(depth - first, 1), nnx.Rngs(1))
    offsets = jnp.arange(4.0)
    carry, outs = fold(step, jnp.ones(3), layers, offsets, depth=depth, late=late, first=first, scan=scan)

    expected = np.ones(3)
    for index in range(depth):
        extra = late.factor[...][index - first] if index >= first else 0.0
        expected = expected * layers.factor[...][index] + extra + offsets[index]
        np.testing.assert_allclose(outs[index], expected, rtol=1e-6)
    np.testing.assert_allclose(carry, expected, rtol=1e-6)


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("where", [0, 1, 2, 3])
def test_a_fold_may_be_taken_up_in_any_layer(where: int, scan: bool) -> None:
    layers, late = stack(Scale, 4, nnx.Rngs(0)), stack(Scale, 3, nnx.Rngs(1))
    settings: dict[str, Any] = {"depth": 4, "late": late, "first": 1, "scan": scan}
    expected, outs = fold(step, jnp.ones(3), layers, jnp.arange(4.0), **settings)
    carry, parts = jnp.ones(3), []
    for start, stop in ((0, where), (where, 4)):
        if start < stop:
            carry, out = fold(step, carry, layers, jnp.arange(4.0), start=start, stop=stop, **settings)
            parts.append(out)
    np.testing.assert_allclose(carry, expected, rtol=1e-6)
    np.testing.assert_allclose(jnp.concatenate(parts), outs, rtol=1e-6)


def test_unstack_gives_every_layers_parameters() -> None:
    layers = unstack({"kernel": jnp.arange(6.0).reshape(3, 2)})
    np.testing.assert_array_equal([layer["kernel"] for layer in layers], [[0, 1], [2, 3], [4, 5]])
