"""The gradient of the gates on TPUs: a kernel in which no score leaves the core."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float

from smarttrim_jax.tokens.attention import splash
from smarttrim_jax.tokens.attention.plain import gated_softmax

QUERIES = splash.LANES
"""Queries of a block. It holds the scores of all keys, so that the softmax needs one pass over them."""


def pallas_gate_gradient(
    query: Float[Array, "batch queries heads head_width"],
    key: Float[Array, "batch keys heads head_width"],
    value: Float[Array, "batch keys heads head_width"],
    gate: Float[Array, "batch keys"],
    gradient: Float[Array, "batch queries heads head_width"],
) -> Float[Array, "batch keys"]:
    """Computes what `fused.gate_gradient` computes, by a kernel for TPUs.

    Args:
        query: `[batch, queries, heads, head_width]`.
        key: `[batch, keys, heads, head_width]`.
        value: `[batch, keys, heads, head_width]`.
        gate: `[batch, keys]`, 1 for open keys, 0 for closed ones.
        gradient: Gradient of the weighted means, `[batch, queries, heads, head_width]`.

    Returns:
        The gradient of `gate`, `[batch, keys]`.
    """
    # Padding changes nothing: a query without gradient and a closed key add 0 to the gradients of others.
    query, key, value, gradient = (splash.heads_first(part) for part in (query, key, value, gradient))
    (batch, heads, queries, width), keys = query.shape, key.shape[2]
    gates = jnp.pad(gate.astype(jnp.float32), ((0, 0), (0, keys - gate.shape[1])))[:, None]
    of_query = pl.BlockSpec((None, None, QUERIES, width), lambda example, head, block: (example, head, block, 0))
    of_key = pl.BlockSpec((None, None, keys, width), lambda example, head, _: (example, head, 0, 0))
    of_gate = pl.BlockSpec((None, 1, keys), lambda example, *_: (example, 0, 0))
    found = pl.pallas_call(
        _add_block,
        grid=(batch, heads, queries // QUERIES),
        in_specs=[of_query, of_key, of_key, of_gate, of_query],
        out_specs=of_gate,
        out_shape=jax.ShapeDtypeStruct((batch, 1, keys), jnp.float32),
        interpret=splash.INTERPRET,
    )(query, key, value, gates, gradient)
    return found[:, 0, : gate.shape[1]].astype(gate.dtype)


def _add_block(query: Any, key: Any, value: Any, gate: Any, gradient: Any, total: Any) -> None:
    """Adds what one block of queries of one head gives to the gradient of all gates of its example."""

    @pl.when((pl.program_id(1) == 0) & (pl.program_id(2) == 0))
    def _() -> None:
        total[...] = jnp.zeros_like(total)

    scores = _products(query[...], key[...]) * query.shape[-1] ** -0.5
    of_weights = _products(gradient[...], value[...])
    pull = jax.vjp(lambda gate: gated_softmax(scores, gate), gate[...])[1]
    total[...] += pull(of_weights)[0]


def _products(left: Array, right: Array) -> Array:
    """The products of each row with each row, `[rows of left, rows of right]`, in float32."""
    return jax.lax.dot_general(left, right, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
