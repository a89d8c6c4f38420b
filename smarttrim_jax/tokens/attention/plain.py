"""Attention in plain JAX: differentiable in the gates of the keys, as training needs it, and row by row without."""

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
    drop: Callable[[Array], Array],
    *,
    causal: bool = False,
) -> Float[Array, "batch queries heads head_width"]:
    """Attention with `drop` on its weights; gradients reach the gates, see `gated_softmax`.

    With `causal` a query reads no key behind it.
    """
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32)
    gate = gate[:, None, None, :]
    if causal:
        gate = gate * jnp.tri(query.shape[1], key.shape[1], dtype=jnp.float32)
    weights = drop(gated_softmax(scores * query.shape[-1] ** -0.5, gate))
    return jnp.einsum("bhqk,bkhd->bqhd", weights.astype(value.dtype), value)


def gated_softmax(
    scores: Float[Array, "*batch keys"], gate: Float[Array, "*#batch keys"]
) -> Float[Array, "*batch keys"]:
    """Softmax over the keys with a differentiable 0/1 gate: `exp(s_j - max) k_j / sum_j exp(s_j - max) k_j`.

    Closed keys weigh exactly zero, yet gradients reach their gates. The maximum runs over open keys and the
    exponent of closed ones is bounded, so that a large score of a closed key neither overflows nor pushes
    the open ones to zero. With no open key at all every weight is zero.
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


ROW_BY_ROW = 2**20
"""Scores of one example beyond which a CPU works example by example: more do not fit its caches."""


def mix_rows(tokens: Tokens, keys: Tokens, query: Array, key: Array, value: Array, *, causal: bool = False) -> Array:
    """Attention of `tokens` over the open ones of `keys`, in the layout of `tokens`; see `attend`."""
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
    """Whether examples of this size are better taken one after the other on this process's device."""
    return jax.default_backend() == "cpu" and queries * keys * heads > ROW_BY_ROW


def mix_row(
    query: Float[Array, "queries heads width"],
    key: Float[Array, "keys heads width"],
    value: Float[Array, "keys heads width"],
    gate: Float[Array, " keys"],
    *,
    causal: bool = False,
) -> Float[Array, "queries heads width"]:
    """One example's attention, with as few passes over the scores as can be; `causal` reads no key behind a query."""
    is_open = gate > 0
    if causal:
        is_open = is_open & jnp.tri(query.shape[0], key.shape[0], dtype=bool)
    query, key, value = (jnp.swapaxes(part, 0, 1) for part in (query, key, value))  # heads first: CPUs want it
    scores = jnp.einsum("hqd,hkd->hqk", query, key, preferred_element_type=jnp.float32) * query.shape[-1] ** -0.5
    scores = jnp.where(is_open, scores, jnp.finfo(jnp.float32).min)
    weights = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))
    mixed = jnp.matmul(weights.astype(value.dtype), value)
    mixed = mixed / jnp.sum(weights, axis=-1, keepdims=True).astype(mixed.dtype)
    return jnp.swapaxes(mixed, 0, 1)
