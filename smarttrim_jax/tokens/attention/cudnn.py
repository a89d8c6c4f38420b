"""Attention by cuDNN on NVIDIA GPUs: a fused kernel that takes the number of keys of each example."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.tokens.layout import Tokens

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


def mix_cudnn(tokens: Tokens, keys: Tokens, query: Array, key: Array, value: Array) -> Array:
    """Attention of `tokens` over the open tokens of `keys`, computed by cuDNN; see `attend`.

    The result of attention does not depend on the order of the keys. So the open keys of each row are moved to the
    front, and the kernel is told how many they are.

    Args:
        tokens: The tokens that the queries belong to.
        keys: The tokens that are read; only their layout and gates are used.
        query: Queries, laid out like `tokens.values`, `[..., heads, head_width]`.
        key: Keys, laid out like `keys.values`.
        value: Values, laid out like `keys.values`.

    Returns:
        The weighted means of the values, laid out like `query`.

    Raises:
        ConfigError: cuDNN supports neither the data type nor the head width; see `suits_cudnn`.
    """
    if not suits_cudnn(query):
        raise ConfigError(
            f"attention 'cudnn' takes bfloat16 heads of a width that is a multiple of 8, at most 128; "
            f"these are {query.dtype}, {query.shape[-1]} wide: set model.dtype to bfloat16, or model.attention to xla"
        )
    gate = keys.row_gate
    order = jnp.argsort(gate <= 0, axis=1, stable=True)[..., None, None]
    first = (jnp.take_along_axis(keys.rows(part), order, axis=1) for part in (key, value))
    mixed = jax.nn.dot_product_attention(
        tokens.rows(query),
        *first,
        key_value_seq_lengths=jnp.sum(gate > 0, axis=1, dtype=jnp.int32),
        implementation=IMPLEMENTATION,
    )
    return tokens.unrow(mixed)
