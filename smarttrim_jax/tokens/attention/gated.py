"""Attention in training: differentiable in the gates of the keys."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


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
