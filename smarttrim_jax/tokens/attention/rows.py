"""Attention in plain JAX: examples side by side, every one in a row as long as the longest."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.tokens.layout import Tokens

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
