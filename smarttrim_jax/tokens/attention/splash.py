"""Attention by Pallas' splash kernel on TPUs; closed keys are masked by giving them another segment id."""

import functools
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
from jaxtyping import Array

from smarttrim_jax.tokens.layout import Tokens

LANES = 128
BLOCKS = (512, 384, 256, LANES)
INTERPRET = False
"""Whether to run the kernel in Pallas' interpreter; set by tests that run without a TPU."""


def mix_splash(tokens: Tokens, keys: Tokens, query: Array, key: Array, value: Array) -> Array:
    """Attention of `tokens` over the open tokens of `keys` by the splash kernel; see `attend`.

    Args:
        tokens: The tokens that the queries belong to.
        keys: The tokens that are read; only their layout and gates are used.
        query: Queries, laid out like `tokens.values`, `[..., heads, head_width]`.
        key: Keys, laid out like `keys.values`.
        value: Values, laid out like `keys.values`.

    Returns:
        The weighted means of the values, laid out like `query`.
    """
    query, key, value = tokens.rows(query), keys.rows(key), keys.rows(value)
    gate, places = keys.row_gate, query.shape[1]
    query, key, value = (_heads_first(part) for part in (query * query.shape[-1] ** -0.5, key, value))
    closed = jnp.pad(gate <= 0, ((0, 0), (0, key.shape[2] - gate.shape[1])), constant_values=True).astype(jnp.int32)
    segments = SegmentIds(q=jnp.zeros(query.shape[:1] + query.shape[2:3], jnp.int32), kv=closed)
    kernel = _kernel(query.shape[1], query.shape[2], key.shape[2], INTERPRET)
    mixed = jax.vmap(kernel)(query, key, value, segment_ids=segments)
    return tokens.unrow(jnp.swapaxes(mixed, 1, 2)[:, :places])


def _heads_first(rows: Array) -> Array:
    """Transposes `[batch, places, heads, width]` to heads first, and pads the places to a multiple of 128."""
    padded = jnp.pad(rows, ((0, 0), (0, -rows.shape[1] % LANES), (0, 0), (0, 0)))
    return jnp.swapaxes(padded, 1, 2)


@functools.cache
def _kernel(heads: int, queries: int, keys: int, interpret: bool) -> Any:
    """Builds the kernel for one row size, and caches it.

    Args:
        heads: Attention heads.
        queries: Queries per row, a multiple of 128.
        keys: Keys per row, a multiple of 128.
        interpret: Whether to run it in Pallas' interpreter.

    Returns:
        A function of query, key, value (`[heads, places, width]` each) and segment ids. Its mask tables are
        constants.
    """
    own, other = (next(block for block in BLOCKS if length % block == 0) for length in (queries, keys))
    with jax.ensure_compile_time_eval():
        return make_splash_mha(
            MultiHeadMask([FullMask((queries, keys)) for _ in range(heads)]),
            block_sizes=BlockSizes(block_q=own, block_kv=other, block_kv_compute=other),
            head_shards=1,
            q_seq_shards=1,
            interpret=interpret,
        )
