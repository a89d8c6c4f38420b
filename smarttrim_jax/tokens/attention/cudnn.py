"""Attention by cuDNN on NVIDIA GPUs: a fused kernel that takes the number of keys of each example."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.tokens.attention.plain import mix_gated, where_any_is_open

IMPLEMENTATION: Literal["cudnn", "xla"] = "cudnn"
"""The implementation requested from `jax.nn.dot_product_attention`; tests without a GPU set it to "xla"."""
SCORES_AT_ONCE = 2**23
"""Scores (examples * heads * queries * keys) that the gradient of the gates holds at once, if more than one example.
"""


def suits_cudnn(query: Array) -> bool:
    """Tells whether cuDNN's attention supports the data type and head width of the queries.

    Args:
        query: Queries, `[..., heads, head_width]`.

    Returns:
        True for bfloat16 or float16 with a head width that is a multiple of 8 and at most 128.
    """
    return query.dtype in (jnp.bfloat16, jnp.float16) and query.shape[-1] % 8 == 0 and query.shape[-1] <= 128


@jax.custom_vjp
def mix_cudnn(
    query: Float[Array, "batch queries heads head_width"],
    key: Float[Array, "batch keys heads head_width"],
    value: Float[Array, "batch keys heads head_width"],
    gate: Float[Array, "batch keys"],
) -> Float[Array, "batch queries heads head_width"]:
    """Attention over the open keys by cuDNN, with the gradients of `plain.mix_gated`.

    The result of attention does not depend on the order of the keys. So the open keys of each row are moved to the
    front, and the kernel is told how many they are.

    Args:
        query: `[batch, queries, heads, head_width]`.
        key: `[batch, keys, heads, head_width]`.
        value: `[batch, keys, heads, head_width]`.
        gate: `[batch, keys]`, 1 for open keys, 0 for closed ones.

    Returns:
        The weighted means of the values, `[batch, queries, heads, head_width]`; 0 where no key is open.

    Raises:
        ConfigError: cuDNN supports neither the data type nor the head width; see `suits_cudnn`.
    """
    return where_any_is_open(gate, _mix(query, key, value, gate))


def _mix(query: Array, key: Array, value: Array, gate: Array) -> Array:
    """Implements `mix_cudnn` without the gradient of the gates; where no key is open, the first one is read."""
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
        key_value_seq_lengths=jnp.maximum(jnp.sum(gate > 0, axis=1, dtype=jnp.int32), 1),
        implementation=IMPLEMENTATION,
    )


def _take(rows: Array, order: Int[Array, "batch keys"]) -> Array:
    """Reorders the keys of each row. The order is known to repeat none, so that the gradient need not be summed."""

    def take(row: Array, order: Array) -> Array:
        return row.at[order].get(unique_indices=True, mode="promise_in_bounds")

    return jax.vmap(take)(rows, order)


def _forward(query: Array, key: Array, value: Array, gate: Array) -> tuple[Array, Any]:
    mixed, pull = jax.vjp(lambda query, key, value: _mix(query, key, value, gate), query, key, value)
    return where_any_is_open(gate, mixed), (pull, query, key, value, gate)


def _backward(kept: Any, gradient: Array) -> tuple[Array, ...]:
    pull, query, key, value, gate = kept
    of_gate = gate_gradient(query, key, value, gate, gradient)
    return *pull(where_any_is_open(gate, gradient)), of_gate


mix_cudnn.defvjp(_forward, _backward)


def gate_gradient(
    query: Float[Array, "batch queries heads head_width"],
    key: Float[Array, "batch keys heads head_width"],
    value: Float[Array, "batch keys heads head_width"],
    gate: Float[Array, "batch keys"],
    gradient: Float[Array, "batch queries heads head_width"],
) -> Float[Array, "batch keys"]:
    """Computes the gradient of the gates, which a kernel that masks closed keys cannot give.

    The scores are computed anew, for few examples at a time. Where nothing needs this gradient, because the gates
    are only those of padding, the compiler removes the computation.

    Args:
        query: `[batch, queries, heads, head_width]`.
        key: `[batch, keys, heads, head_width]`.
        value: `[batch, keys, heads, head_width]`.
        gate: `[batch, keys]`, 1 for open keys, 0 for closed ones.
        gradient: Gradient of the weighted means, `[batch, queries, heads, head_width]`.

    Returns:
        The gradient of `gate`, `[batch, keys]`.
    """

    def of_example(parts: tuple[Array, ...]) -> Array:
        query, key, value, gate, gradient = (part[None] for part in parts)
        pull = jax.vjp(lambda gate: mix_gated(query, key, value, gate), gate)[1]
        found: Array = pull(gradient)[0][0]
        return found

    batch, queries, heads, _ = query.shape
    at_once = max(SCORES_AT_ONCE // (queries * heads * key.shape[1]), 1)
    gates: Array = jax.lax.map(of_example, (query, key, value, gate, gradient), batch_size=min(at_once, batch))
    return gates
