"""Attention by cuDNN on NVIDIA GPUs: fused, with a length for every example."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.tokens.layout import Tokens

IMPLEMENTATION: Literal["cudnn", "xla"] = "cudnn"
"""What `jax.nn.dot_product_attention` is asked for; tests without a GPU ask for XLA."""


def suits_cudnn(query: Array) -> bool:
    """Whether cuDNN computes with these numbers."""
    return query.dtype in (jnp.bfloat16, jnp.float16) and query.shape[-1] % 8 == 0 and query.shape[-1] <= 128


def mix_cudnn(tokens: Tokens, keys: Tokens, query: Array, key: Array, value: Array) -> Array:
    """Attention of `tokens` over the open ones of `keys`, in the layout of `tokens`; see `attend`.

    Attention does not ask in which order keys come: the open ones go first, and a length says how many they are.

    Raises:
        ConfigError: numbers that cuDNN does not take.
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
