"""Flash attention over packed tokens in place, for TPUs: each block of queries reads only its own examples' keys.

Nothing is gathered, and a head stays where its projection wrote it. The work is that of the pairs of blocks that hold
a query and a key of the same example: near the sum of the squared lengths, whatever the longest example keeps.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Int

from smarttrim_jax.tokens.attention import splash
from smarttrim_jax.tokens.packed import Packed

BLOCK = splash.LANES
"""Queries, and keys, of a block. Larger blocks would hold more pairs of different examples."""
CLOSED = -1
"""The row of keys that nobody reads."""
LEAST = -0.7 * float(jnp.finfo(jnp.float32).max)
"""Score of a pair that is masked; finite, so that differences of two of them are."""


def mix_flash(tokens: Packed, keys: Packed, query: Array, key: Array, value: Array) -> Array:
    """Attention of `tokens` over the open tokens of `keys`, both packed; see `attend`.

    Args:
        tokens: The tokens that the queries belong to.
        keys: The tokens that are read, of the same examples; only their layout and gates are used.
        query: Queries of `tokens`, `[packed, heads, head_width]`.
        key: Keys of `keys`, `[packed keys, heads, head_width]`.
        value: Values of `keys`, `[packed keys, heads, head_width]`.

    Returns:
        The weighted means of the values, `[packed, heads, head_width]`; finite but arbitrary for fillers and where no
        key is open.
    """
    packed, heads, head_width = query.shape
    own = _whole_blocks(tokens.row, tokens.shape[0])
    other = _whole_blocks(jnp.where(keys.gate > 0, keys.row, CLOSED), CLOSED)
    lines = (_whole_blocks(part.reshape(part.shape[0], -1)) for part in (query * head_width**-0.5, key, value))
    first, count = key_blocks(tokens, keys)

    def key_block(block: Any, step: Any, first: Any, count: Any) -> Any:
        return first[block] + jnp.minimum(step, jnp.maximum(count[block] - 1, 0))  # Steps to skip read nothing new.

    width = heads * head_width
    row, vectors = (1, BLOCK), (BLOCK, width)
    mixed: Array = pl.pallas_call(
        functools.partial(_mix_block, head_width=head_width),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=2,
            grid=(first.shape[0], jnp.max(count)),
            in_specs=[
                pl.BlockSpec(row, lambda block, *_: (0, block)),
                pl.BlockSpec(row, lambda *place: (0, key_block(*place))),
                pl.BlockSpec(vectors, lambda block, *_: (block, 0)),
                pl.BlockSpec(vectors, lambda *place: (key_block(*place), 0)),
                pl.BlockSpec(vectors, lambda *place: (key_block(*place), 0)),
            ],
            out_specs=pl.BlockSpec(vectors, lambda block, *_: (block, 0)),
            scratch_shapes=[
                pltpu.VMEM((heads, BLOCK, BLOCK), jnp.float32),
                pltpu.VMEM((heads, BLOCK, BLOCK), jnp.float32),
                pltpu.VMEM(vectors, jnp.float32),
            ],
        ),
        out_shape=jax.ShapeDtypeStruct((own.shape[0], width), query.dtype),
        compiler_params=pltpu.CompilerParams(dimension_semantics=("parallel", "arbitrary")),
        cost_estimate=_cost(tokens, keys, width, heads, query.dtype.itemsize),
        interpret=splash.INTERPRET,
        name="flash_packed",
    )(first, count, own[None], other[None], *lines)
    return mixed[:packed].reshape(query.shape)


def key_blocks(tokens: Packed, keys: Packed) -> tuple[Int[Array, " blocks"], Int[Array, " blocks"]]:
    """Finds the blocks of keys that hold a key of any example of a block of queries; they are consecutive.

    Args:
        tokens: The tokens that the queries belong to.
        keys: The tokens that are read, of the same examples.

    Returns:
        For each block of queries, the index of the first block of keys, and their number; 0 for a block of fillers.
    """
    batch = tokens.shape[0]
    row = _whole_blocks(tokens.row, batch).reshape(-1, BLOCK)
    edges = jnp.append(keys.start, jnp.sum(keys.row < batch, dtype=jnp.int32))
    begin, end = edges[row[:, 0]], edges[jnp.minimum(row[:, -1] + 1, batch)]
    first = jnp.minimum(begin, keys.row.shape[0] - 1) // BLOCK
    return first, jnp.where(begin < end, pl.cdiv(end, BLOCK) - first, 0)


def _whole_blocks(line: Array, filler: int = 0) -> Array:
    """The line with fillers up to a multiple of `BLOCK`."""
    more = [(0, -line.shape[0] % BLOCK)] + [(0, 0)] * (line.ndim - 1)
    return jnp.pad(line, more, constant_values=filler)


def _mix_block(
    first: Any,
    count: Any,
    own: Any,
    other: Any,
    query: Any,
    key: Any,
    value: Any,
    mixed: Any,
    tops: Any,
    totals: Any,
    sums: Any,
    *,
    head_width: int,
) -> None:
    """Adds what one block of keys gives to one block of queries.

    Args:
        first: The first block of keys of each block of queries.
        count: The number of blocks of keys of each block of queries.
        own: `[1, BLOCK]`, the row of each query.
        other: `[1, BLOCK]`, the row of each key, or `CLOSED`.
        query: `[BLOCK, heads * head_width]`, scaled.
        key: `[BLOCK, heads * head_width]`.
        value: `[BLOCK, heads * head_width]`.
        mixed: `[BLOCK, heads * head_width]`, the result, written after the last block of keys.
        tops: `[heads, BLOCK, BLOCK]`, the largest score of each query so far, the same in all columns.
        totals: `[heads, BLOCK, BLOCK]`, the sum of the weights of each query so far, the same in all columns.
        sums: `[BLOCK, heads * head_width]`, the sum of the weighted values so far.
        head_width: Width of a head.
    """
    step, steps = pl.program_id(1), count[pl.program_id(0)]
    heads = [(head, pl.ds(head * head_width, head_width)) for head in range(tops.shape[0])]

    @pl.when(step == 0)
    def begin() -> None:
        mixed[...] = jnp.zeros_like(mixed)  # Blocks of fillers have no further step.
        tops[...] = jnp.full_like(tops, LEAST)
        totals[...] = jnp.zeros_like(totals)
        sums[...] = jnp.zeros_like(sums)

    @pl.when(step < steps)
    def add() -> None:
        together = other[...] == jnp.broadcast_to(own[...], (BLOCK, BLOCK)).T  # [queries, keys]
        for head, lanes in heads:
            scores = jax.lax.dot_general(
                query[:, lanes], key[:, lanes], (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32
            )
            scores = jnp.where(together, scores, LEAST)
            top = jnp.maximum(tops[head], jnp.max(scores, axis=1, keepdims=True))
            weights = jnp.exp(scores - top)
            before = jnp.exp(tops[head] - top)
            tops[head] = top
            totals[head] = before * totals[head] + jnp.sum(weights, axis=1, keepdims=True)
            added = jnp.dot(weights.astype(value.dtype), value[:, lanes], preferred_element_type=jnp.float32)
            sums[:, lanes] = before[:, :1] * sums[:, lanes] + added

    @pl.when((step == pl.num_programs(1) - 1) & (steps > 0))
    def finish() -> None:
        for head, lanes in heads:
            mixed[:, lanes] = (sums[:, lanes] / totals[head][:, :1]).astype(mixed.dtype)


def _cost(tokens: Packed, keys: Packed, width: int, heads: int, itemsize: int) -> pl.CostEstimate:
    """The work if all examples are equally long and fill the line, which the compiler cannot know."""
    batch = tokens.shape[0]
    queries, blocks = pl.cdiv(tokens.row.shape[0], BLOCK), pl.cdiv(keys.row.shape[0], BLOCK)
    examples = min(1 + BLOCK * batch / tokens.row.shape[0], batch)  # Those of one block of queries.
    pairs = round(queries * min(examples * keys.row.shape[0] / batch / BLOCK + 1, blocks))
    return pl.CostEstimate(
        flops=4 * pairs * BLOCK * BLOCK * width,
        transcendentals=pairs * BLOCK * BLOCK * 2 * heads,
        bytes_accessed=2 * (queries + pairs) * BLOCK * width * itemsize,
    )
