"""Scaled dot-product attention over tokens of which some are closed, in any layout."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.tokens.layout import Tokens

# Scores of one example beyond which a CPU works example by example: more do not fit its caches.
ROW_BY_ROW = 2**20


def attend(
    tokens: Tokens,
    query: Float[Array, "... heads head_width"],
    key: Float[Array, "... heads head_width"],
    value: Float[Array, "... heads head_width"],
    *,
    source: Tokens | None = None,
    head_gate: Float[Array, "batch heads"] | None = None,
    drop: Callable[[Array], Array] | None = None,
) -> Float[Array, "... heads head_width"]:
    """Attention of tokens over the open ones of `source`.

    Args:
        tokens: which the queries belong to.
        query: one for each of `tokens`, laid out like them.
        key: one for each of `source`.
        value: one for each of `source`.
        source: what is read; `tokens` themselves by default.
        head_gate: multiplies each head's output.
        drop: dropout on the attention weights, in training: only then do gradients reach the gates of the keys.
    """
    keys = tokens if source is None else source
    rows = tokens.rows(query), keys.rows(key), keys.rows(value), keys.row_gate
    mixed = _mix_open(*rows) if drop is None else _mix_gated(*rows, drop)
    if head_gate is not None:
        mixed = mixed * head_gate[:, None, :, None].astype(mixed.dtype)
    return tokens.unrow(mixed)


def _mix_gated(query: Array, key: Array, value: Array, gate: Array, drop: Callable[[Array], Array]) -> Array:
    """In training: differentiable in the gates; see `gated_softmax`."""
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32)
    weights = drop(gated_softmax(scores * query.shape[-1] ** -0.5, gate[:, None, None, :]))
    return jnp.einsum("bhqk,bkhd->bqhd", weights.astype(value.dtype), value)


def _mix_open(query: Array, key: Array, value: Array, gate: Array) -> Array:
    """In evaluation: the same, with as few passes over the scores as can be."""
    (batch, queries, heads, width), places = query.shape, key.shape[1]

    def mix(query: Array, key: Array, value: Array, gate: Array) -> Array:
        query, key, value = (jnp.swapaxes(part, 0, 1) for part in (query, key, value))  # heads first: CPUs want it
        scores = jnp.einsum("hqd,hkd->hqk", query, key, preferred_element_type=jnp.float32) * width**-0.5
        scores = jnp.where(gate > 0, scores, jnp.finfo(jnp.float32).min)
        weights = jnp.exp(scores - jnp.max(scores, axis=-1, keepdims=True))
        mixed = jnp.matmul(weights.astype(value.dtype), value)
        mixed = mixed / jnp.sum(weights, axis=-1, keepdims=True).astype(mixed.dtype)
        return jnp.swapaxes(mixed, 0, 1)

    inputs = query, key, value, gate
    if batch == 1:
        return mix(*(part[0] for part in inputs))[None]
    if queries * places * heads > ROW_BY_ROW and jax.default_backend() == "cpu":
        return jax.lax.map(lambda row: mix(*row), inputs)
    return jax.vmap(mix)(*inputs)


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
