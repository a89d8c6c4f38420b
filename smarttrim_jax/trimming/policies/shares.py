"""Policies that keep a share: the share that the speed dial sets, and the places that come first in an order."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.trimming.gates import Trim


def share_at(share: float, trim: Trim, rows: int) -> Float[Array, "..."]:
    """Returns the share that is kept at the dial's offset: a logistic curve, which is `share` at offset 0.

    Args:
        share: The share at offset 0, between 0 and 1.
        trim: Holds the offset, one for all examples or one for each.
        rows: Images or texts in the batch.

    Returns:
        The share, a scalar or `[rows, 1]`.
    """
    dial = trim.laid_out(rows, lambda offset: offset[:, None])
    logit = math.log(share / (1 - share)) if share else -math.inf
    return jax.nn.sigmoid(logit + jnp.asarray(dial.offset, jnp.float32))


def first_places(
    order: Float[Array, "rows places"],
    share: Float[Array, "..."],
    count: Array,
) -> Float[Array, "rows places"]:
    """Selects the first places of each row in an order.

    Args:
        order: `[rows, places]`; smaller numbers come first, and of equal ones the earlier place.
        share: Share of `count` that is selected, broadcastable to `[rows, 1]`.
        count: Number of places that the share refers to, `[rows, 1]`.

    Returns:
        `[rows, places]`, 1 for the selected places, else 0.
    """
    rank = jnp.argsort(jnp.argsort(order, axis=1), axis=1)
    return (rank < jnp.round(share * count)).astype(jnp.float32)
