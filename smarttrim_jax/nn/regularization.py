"""Dropout, stochastic depth and the keys they draw from."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from smarttrim_jax.tokens import Tokens


def dropout(values: Array, rate: float, key: jax.Array | None) -> Array:
    """Drops single values with probability `rate` and scales the others; `key` None turns it off."""
    if key is None or rate == 0.0:
        return values
    return nnx.Dropout(rate, deterministic=False)(values, rngs=key)


def drop_path(branch: Array, tokens: Tokens, rate: Array | float, key: jax.Array | None) -> Array:
    """Stochastic depth: drops a residual branch for whole examples (timm's DropPath); `key` None turns it off.

    Args:
        branch: the residual branch of every token.
        tokens: whose layout says which values belong to one example.
        rate: probability of dropping; may differ by layer, hence may be traced.
        key: of the draw.
    """
    if key is None or (isinstance(rate, float) and rate == 0.0):
        return branch
    examples = tokens.global_token.shape[0]
    kept = 1.0 - jnp.asarray(rate, jnp.float32)
    keep = jax.random.bernoulli(key, kept, (examples, 1)) / kept
    return branch * tokens.spread(keep).astype(branch.dtype)


def split_key(key: jax.Array | None, count: int) -> list[jax.Array] | list[None]:
    """`count` keys from one; none from none, for evaluation."""
    return [None] * count if key is None else list(jax.random.split(key, count))
