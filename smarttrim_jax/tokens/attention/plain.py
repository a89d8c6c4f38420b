"""Attention in plain JAX: for training, differentiable in the gates of the keys; for evaluation, without that."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.tokens.layout import Tokens


def mix_gated(
    query: Float[Array, "batch queries heads head_width"],
    key: Float[Array, "batch keys heads head_width"],
    value: Float[Array, "batch keys heads head_width"],
    gate: Float[Array, "batch keys"],
    *,
    drop: Callable[[Array], Array] | None = None,
    causal: bool = False,
) -> Float[Array, "batch queries heads head_width"]:
    """Attention whose gradients reach the gates of the keys; see `gated_softmax`.

    Args:
        query: `[batch, queries, heads, head_width]`.
        key: `[batch, keys, heads, head_width]`.
        value: `[batch, keys, heads, head_width]`.
        gate: `[batch, keys]`, 1 for open keys, 0 for closed ones, n for one that n tokens were merged into.
        drop: Function that applies dropout to the weights `[batch, heads, queries, keys]`; None for no dropout.
        causal: Whether query i reads only keys 0 to i.

    Returns:
        The weighted means of the values, `[batch, queries, heads, head_width]`.
    """
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32)
    gate = gate[:, None, None, :]
    if causal:
        gate = gate * jnp.tri(query.shape[1], key.shape[1], dtype=jnp.float32)
    weights = gated_softmax(scores * query.shape[-1] ** -0.5, gate)
    if drop is not None:
        weights = drop(weights)
    return jnp.einsum("bhqk,bkhd->bqhd", weights.astype(value.dtype), value)


def gated_softmax(
    scores: Float[Array, "*batch keys"], gate: Float[Array, "*#batch keys"]
) -> Float[Array, "*batch keys"]:
    """Softmax over the keys with a differentiable 0/1 gate: `exp(s_j - max) k_j / sum_j exp(s_j - max) k_j`.

    Closed keys weigh exactly zero, yet gradients reach their gates. The maximum runs over open keys only, and the
    exponent of closed keys is bounded by 0, so that a large score of a closed key neither overflows nor makes the
    weights of open keys vanish.

    Args:
        scores: Attention scores `s`, `[*batch, keys]`; computed in float32.
        gate: Gates `k`, `[*batch, keys]` or broadcastable to it, 1 open, 0 closed.

    Returns:
        The weights, `[*batch, keys]`, float32. They sum to 1, or are all 0 where no key is open.
    """
    scores = scores.astype(jnp.float32)
    gate = gate.astype(jnp.float32)
    is_open = gate > 0
    top = jnp.max(jnp.where(is_open, scores, -jnp.inf), axis=-1, keepdims=True)
    top = jax.lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0.0))
    shifted = scores - top
    bounded = jax.lax.stop_gradient(jnp.minimum(shifted, 0.0))
    weights = jnp.exp(jnp.where(is_open, shifted, bounded)) * gate
    total = jnp.sum(weights, axis=-1, keepdims=True)
    return weights / jnp.where(total > 0, total, 1.0)


def where_any_is_open(
    gate: Float[Array, "batch keys"], rows: Float[Array, "batch _ _ head_width"]
) -> Float[Array, "batch _ _ head_width"]:
    """Replaces by 0 what examples without an open key give, where a fused kernel gives anything.

    Args:
        gate: `[batch, keys]`, 1 for open keys, 0 for closed ones.
        rows: Results, or their gradients, with heads and queries in either order.

    Returns:
        The rows, 0 for these examples.
    """
    return jnp.where(jnp.any(gate > 0, axis=1)[:, None, None, None], rows, 0.0)


ROW_BY_ROW = 2**20
"""Scores per example (queries * keys * heads) above which a CPU computes one example at a time to stay in its caches.
"""


def mix_rows(tokens: Tokens, keys: Tokens, query: Array, key: Array, value: Array, *, causal: bool = False) -> Array:
    """Attention of `tokens` over the open tokens of `keys` in plain JAX, for evaluation; see `attend`.

    Args:
        tokens: The tokens that the queries belong to.
        keys: The tokens that are read; only their layout and gates are used.
        query: Queries, laid out like `tokens.values`, `[..., heads, head_width]`.
        key: Keys, laid out like `keys.values`.
        value: Values, laid out like `keys.values`.
        causal: Whether each token reads only itself and the tokens before it.

    Returns:
        The weighted means of the values, laid out like `query`.
    """
    mix = functools.partial(mix_row, causal=causal)
    inputs = tokens.rows(query), keys.rows(key), keys.rows(value), keys.row_gate
    (batch, queries, heads, _), places = inputs[0].shape, inputs[1].shape[1]
    if batch == 1:
        mixed = mix(*(part[0] for part in inputs))[None]
    elif goes_row_by_row(queries, places, heads):
        mixed = jax.lax.map(lambda row: mix(*row), inputs)
    else:
        mixed = jax.vmap(mix)(*inputs)
    return tokens.unrow(mixed)


def goes_row_by_row(queries: int, keys: int, heads: int) -> bool:
    """Tells whether attention is faster one example at a time: on CPUs, above `ROW_BY_ROW` scores per example.

    Args:
        queries: Queries per example.
        keys: Keys per example.
        heads: Attention heads.

    Returns:
        Whether to compute the examples one after the other on this process's device.
    """
    return jax.default_backend() == "cpu" and queries * keys * heads > ROW_BY_ROW


def mix_row(
    query: Float[Array, "queries heads width"],
    key: Float[Array, "keys heads width"],
    value: Float[Array, "keys heads width"],
    gate: Float[Array, " keys"],
    *,
    causal: bool = False,
) -> Float[Array, "queries heads width"]:
    """Attention of one example with few passes over the scores, for evaluation.

    Args:
        query: `[queries, heads, width]`, where `width` is that of a head.
        key: `[keys, heads, width]`.
        value: `[keys, heads, width]`.
        gate: `[keys]`, 0 for closed keys; how often an open one counts, which is once unless tokens were merged.
        causal: Whether query i reads only keys 0 to i.

    Returns:
        The weighted means of the values, `[queries, heads, width]`. At least one key must be open, or the mean runs
        over closed ones.
    """
    is_open = gate > 0
    if causal:
        is_open = is_open & jnp.tri(query.shape[0], key.shape[0], dtype=bool)
    query, key, value = (jnp.swapaxes(part, 0, 1) for part in (query, key, value))  # heads first: faster on CPUs
    scores = jnp.einsum("hqd,hkd->hqk", query, key, preferred_element_type=jnp.float32) * query.shape[-1] ** -0.5
    scores = jnp.where(is_open, scores, jnp.finfo(jnp.float32).min)
    weights = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True)) * jnp.where(is_open, gate, 1.0)
    mixed = jnp.matmul(weights.astype(value.dtype), value)
    mixed = mixed / jnp.sum(weights, axis=-1, keepdims=True).astype(mixed.dtype)
    return jnp.swapaxes(mixed, 0, 1)
