"""The backward pass of attention on TPUs: a kernel in which no score leaves the core."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jaxtyping import Array, Float

from smarttrim_jax.tokens.attention.plain import gated_softmax

QUERIES = 128
"""Queries of a block. It holds the scores of all keys, so that the softmax needs one pass over them."""


def splash_gradients(
    query: Float[Array, "batch heads queries head_width"],
    key: Float[Array, "batch heads keys head_width"],
    value: Float[Array, "batch heads keys head_width"],
    gate: Float[Array, "batch keys"],
    gradient: Float[Array, "batch heads queries head_width"],
    *,
    interpret: bool,
) -> tuple[Array, Array, Array, Array]:
    """Computes all gradients of gated attention; see `plain.mix_gated`.

    Splash's own backward pass has none for the gates. This one needs nothing of the forward pass but its inputs.
    Padding changes nothing: a query without gradient and a closed key add 0 to the gradients of others.

    Args:
        query: `[batch, heads, queries, head_width]`, a multiple of `QUERIES` queries.
        key: `[batch, heads, keys, head_width]`, a multiple of 128 keys.
        value: `[batch, heads, keys, head_width]`.
        gate: `[batch, keys]`, 1 for open keys, 0 for closed ones.
        gradient: Gradient of the weighted means, `[batch, heads, queries, head_width]`.
        interpret: Whether to run the kernel in Pallas' interpreter.

    Returns:
        The gradients of `query`, in its data type, and of `key`, `value` and `gate`, in float32.
    """
    (batch, heads, queries, width), keys = query.shape, key.shape[2]
    of_query = pl.BlockSpec((None, None, QUERIES, width), lambda example, head, block: (example, head, block, 0))
    of_key = pl.BlockSpec((None, None, keys, width), lambda example, head, _: (example, head, 0, 0))
    of_gate = pl.BlockSpec((None, 1, keys), lambda example, *_: (example, 0, 0))
    sums = jax.ShapeDtypeStruct(key.shape, jnp.float32)
    of_queries, of_keys, of_values, of_gates = pl.pallas_call(
        _add_block,
        grid=(batch, heads, queries // QUERIES),
        in_specs=[of_query, of_key, of_key, of_gate, of_query],
        out_specs=[of_query, of_key, of_key, of_gate],
        out_shape=[
            jax.ShapeDtypeStruct(query.shape, query.dtype),
            sums,
            sums,
            jax.ShapeDtypeStruct((batch, 1, keys), jnp.float32),
        ],
        interpret=interpret,
    )(query, key, value, gate.astype(jnp.float32)[:, None], gradient)
    return of_queries, of_keys, of_values, of_gates[:, 0]


def _add_block(
    query: Any,
    key: Any,
    value: Any,
    gate: Any,
    gradient: Any,
    of_query: Any,
    of_key: Any,
    of_value: Any,
    of_gate: Any,
) -> None:
    """Computes one block of queries of one head, and adds its share to the gradients of keys, values and gates."""

    @pl.when(pl.program_id(2) == 0)
    def _() -> None:
        of_key[...] = jnp.zeros_like(of_key)
        of_value[...] = jnp.zeros_like(of_value)

    @pl.when((pl.program_id(1) == 0) & (pl.program_id(2) == 0))
    def _() -> None:
        of_gate[...] = jnp.zeros_like(of_gate)

    scale = query.shape[-1] ** -0.5
    scores = _product(query[...], key[...], 1, 1) * scale  # [queries, keys]
    weights, pull = jax.vjp(gated_softmax, scores, gate[...])
    of_scores, of_gates = pull(_product(gradient[...], value[...], 1, 1))
    of_scores = (of_scores * scale).astype(query.dtype)
    of_query[...] = _product(of_scores, key[...], 1, 0).astype(of_query.dtype)
    of_key[...] += _product(of_scores, query[...], 0, 0)
    of_value[...] += _product(weights.astype(value.dtype), gradient[...], 0, 0)
    of_gate[...] += of_gates


def _product(left: Array, right: Array, left_axis: int, right_axis: int) -> Array:
    """The product of two matrices over one axis of each, in float32."""
    axes = (((left_axis,), (right_axis,)), ((), ()))
    return jax.lax.dot_general(left, right, axes, preferred_element_type=jnp.float32)
