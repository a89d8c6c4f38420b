"""Attention by Pallas' splash kernel on TPUs; closed keys are masked by giving them another segment id."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import (
    BlockSizes,
    FullMask,
    MultiHeadMask,
    SegmentIds,
    make_splash_mha,
)
from jaxtyping import Array, Float

from smarttrim_jax.tokens.attention.plain import where_any_is_open
from smarttrim_jax.tokens.attention.splash_gradients import splash_gradients
from smarttrim_jax.tokens.rounding import round_up

LANES = 128
MOST = 640
"""Upper bound on the queries, and on the keys, of a block, whose scores must fit into a core's vector memory."""
INTERPRET = False
"""Whether to run the kernel in Pallas' interpreter; set by tests that run without a TPU."""


@jax.custom_vjp
def mix_splash(
    query: Float[Array, "batch queries heads head_width"],
    key: Float[Array, "batch keys heads head_width"],
    value: Float[Array, "batch keys heads head_width"],
    gate: Float[Array, "batch keys"],
) -> Float[Array, "batch queries heads head_width"]:
    """Attention over the open keys by the splash kernel, with the gradients of `plain.mix_gated`.

    Args:
        query: `[batch, queries, heads, head_width]`.
        key: `[batch, keys, heads, head_width]`.
        value: `[batch, keys, heads, head_width]`.
        gate: `[batch, keys]`, 1 for open keys, 0 for closed ones.

    Returns:
        The weighted means of the values, `[batch, queries, heads, head_width]`; 0 where no key is open.
    """
    (queries, heads, width), keys = query.shape[1:], gate.shape[1]
    query, key, value = (_heads_first(part) for part in (query * width**-0.5, key, value))
    closed = (_padded_gate(gate) <= 0).astype(jnp.int32)
    segments = SegmentIds(q=jnp.zeros(query.shape[:1] + query.shape[2:3], jnp.int32), kv=closed)
    mixed = jax.vmap(_kernel(heads, queries, keys))(query, key, value, segment_ids=segments)
    return jnp.swapaxes(where_any_is_open(gate, mixed), 1, 2)[:, :queries]


def _forward(query: Array, key: Array, value: Array, gate: Array) -> tuple[Array, tuple[Array, ...]]:
    return mix_splash(query, key, value, gate), (query, key, value, gate)


def _backward(inputs: tuple[Array, ...], gradient: Array) -> tuple[Array, ...]:
    *parts, gate = inputs
    query, key, value, gradient = (_heads_first(part) for part in (*parts, gradient))
    *found, of_gate = splash_gradients(query, key, value, _padded_gate(gate), gradient, interpret=INTERPRET)
    back = [
        jnp.swapaxes(one, 1, 2)[:, : part.shape[1]].astype(part.dtype) for one, part in zip(found, parts, strict=True)
    ]
    return *back, of_gate[:, : gate.shape[1]].astype(gate.dtype)


mix_splash.defvjp(_forward, _backward)


def _heads_first(rows: Array) -> Array:
    """Transposes `[batch, places, heads, width]` to heads first, and pads the places to whole blocks."""
    padded = jnp.pad(rows, ((0, 0), (0, -rows.shape[1] % block_size(rows.shape[1])), (0, 0), (0, 0)))
    return jnp.swapaxes(padded, 1, 2)


def _padded_gate(gate: Array) -> Array:
    """Pads gates `[batch, keys]` to whole blocks, with closed ones."""
    return jnp.pad(gate, ((0, 0), (0, -gate.shape[1] % block_size(gate.shape[1]))))


def block_size(places: int) -> int:
    """Finds the size of the fewest equal blocks that hold all places.

    Args:
        places: Queries or keys of a row.

    Returns:
        The size, at most `MOST` and a multiple of `LANES`.
    """
    return round_up(-(-places // -(-places // MOST)), LANES)


def _kernel(heads: int, queries: int, keys: int) -> Any:
    """Builds the kernel for one row size.

    Args:
        heads: Attention heads.
        queries: Queries per row.
        keys: Keys per row.

    Returns:
        A function of query, key, value (`[heads, places, width]` each, padded to whole blocks) and segment ids.
    """
    own, other = block_size(queries), block_size(keys)
    whole = FullMask((round_up(queries, own), round_up(keys, other)))
    blocks = BlockSizes(block_q=own, block_kv=other, block_kv_compute=other)
    return make_splash_mha(
        MultiHeadMask([whole] * heads), block_sizes=blocks, head_shards=1, q_seq_shards=1, interpret=INTERPRET
    )
