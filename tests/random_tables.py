"""Tables of random token gates for forced models."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def random_tables(random: np.random.Generator, means: Sequence[float], batch: int, tokens: int) -> jax.Array:
    """Every example draws the share of its tokens that it keeps, anew for every layer's mean, and then which."""
    share = np.clip(random.normal(np.reshape(means, (-1, 1, 1)), 0.15, (len(means), batch, 1)), 0, 1)
    rank = random.random((len(means), batch, tokens)).argsort(axis=-1).argsort(axis=-1)
    return jnp.asarray(rank < np.round(share * tokens), jnp.float32)
