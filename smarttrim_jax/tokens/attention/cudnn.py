"""Attention by cuDNN on NVIDIA GPUs: a fused kernel that takes the number of keys of each example."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from smarttrim_jax.errors import ConfigError

IMPLEMENTATION: Literal["cudnn", "xla"] = "cudnn"
"""The implementation requested from `jax.nn.dot_product_attention`; tests without a GPU set it to "xla"."""


def suits_cudnn(query: Array) -> bool:
    """Tells whether cuDNN's attention supports the data type and head width of the queries.

    Args:
        query: Queries, `[..., heads, head_width]`.

    Returns:
        True for bfloat16 or float16 with a head width that is a multiple of 8 and at most 128.
    """
    return query.dtype in (jnp.bfloat16, jnp.float16) and query.shape[-1] % 8 == 0 and query.shape[-1] <= 128


def mix_cudnn(
    query: Float[Array, "batch queries heads head_width"],
    key: Float[Array, "batch keys heads head_width"],
    value: Float[Array, "batch keys heads head_width"],
    gate: Float[Array, "batch keys"],
) -> Float[Array, "batch queries heads head_width"]:
    """Attention over the open keys, computed by cuDNN; see `fused.RowKernel`.

    The result of attention does not depend on the order of the keys. So the open keys of each row are moved to the
    front, and the kernel is told how many they are.

    Args:
        query: `[batch, queries, heads, head_width]`.
        key: `[batch, keys, heads, head_width]`.
        value: `[batch, keys, heads, head_width]`.
        gate: `[batch, keys]`, positive for open keys.

    Returns:
        The weighted means of the values, `[batch, queries, heads, head_width]`.

    Raises:
        ConfigError: cuDNN supports neither the data type nor the head width; see `suits_cudnn`.
    """
    if not suits_cudnn(query):
        raise ConfigError(
            f"attention 'cudnn' takes bfloat16 heads of a width that is a multiple of 8, at most 128; "
            f"these are {query.dtype}, {query.shape[-1]} wide: set model.dtype to bfloat16, or model.attention to xla"
        )
    order = jnp.argsort(gate <= 0, axis=1, stable=True)
    first = (_take(part, order) for part in (key, value))
    return jax.nn.dot_product_attention(
        query,
        *first,
        key_value_seq_lengths=jnp.sum(gate > 0, axis=1, dtype=jnp.int32),
        implementation=IMPLEMENTATION,
    )


def _take(rows: Array, order: Int[Array, "batch keys"]) -> Array:
    """Reorders the keys of each row. The order is known to repeat none, so that the gradient need not be summed."""

    def take(row: Array, order: Array) -> Array:
        return row.at[order].get(unique_indices=True, mode="promise_in_bounds")

    return jax.vmap(take)(rows, order)
