"""Fused kernels made differentiable in the gates of the keys, and split over the devices of a mesh."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

from smarttrim_jax.sharding import AXES, EXAMPLE_AXES
from smarttrim_jax.tokens.attention.plain import mix_gated

SCORES_AT_ONCE = 2**23
"""Scores (examples * heads * queries * keys) that the gradient of the gates holds at once, if more than one example.
"""

RowKernel = Callable[[Array, Array, Array, Array], Array]
"""Function of queries, keys, values (`[batch, places, heads, head_width]`) and gates (`[batch, keys]`)."""


def gate_gradient(
    query: Float[Array, "batch queries heads head_width"],
    key: Float[Array, "batch keys heads head_width"],
    value: Float[Array, "batch keys heads head_width"],
    gate: Float[Array, "batch keys"],
    gradient: Float[Array, "batch queries heads head_width"],
) -> Float[Array, "batch keys"]:
    """Computes the gradient of the gates of attention, which a kernel that masks closed keys cannot give.

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


@dataclasses.dataclass(frozen=True)
class FusedKernel:
    """A fused kernel.

    Attributes:
        mix: Attention that gives closed keys no weight and is differentiable in queries, keys and values; at least
            one key of each example is open.
        gate_gradient: Function of the same arrays, and of the gradient of the weighted means, that returns the
            gradient of the gates, `[batch, keys]`.
    """

    mix: RowKernel
    gate_gradient: Callable[[Array, Array, Array, Array, Array], Array] = gate_gradient


def mix_fused(
    kernel: FusedKernel,
    query: Float[Array, "batch queries heads head_width"],
    key: Float[Array, "batch keys heads head_width"],
    value: Float[Array, "batch keys heads head_width"],
    gate: Float[Array, "batch keys"],
) -> Float[Array, "batch queries heads head_width"]:
    """Attention by a fused kernel, with the gradients of `mix_gated`, those of the gates included.

    XLA does not know how to split a kernel that it did not write. On a mesh (`jax.set_mesh`), each device therefore
    runs it on its own examples and heads, where these can be split into equal parts.

    Args:
        kernel: The kernel.
        query: `[batch, queries, heads, head_width]`.
        key: `[batch, keys, heads, head_width]`.
        value: `[batch, keys, heads, head_width]`.
        gate: `[batch, keys]`, 1 for open keys, 0 for closed ones.

    Returns:
        The weighted means of the values, `[batch, queries, heads, head_width]`; 0 where no key is open.
    """
    mix = functools.partial(_mix_differentiably, kernel)
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1 or mesh.manual_axes or not set(AXES) <= set(mesh.axis_names):
        return mix(query, key, value, gate)
    examples = EXAMPLE_AXES if gate.shape[0] % math.prod(mesh.shape[axis] for axis in EXAMPLE_AXES) == 0 else None
    heads = "tensor" if query.shape[2] % mesh.shape["tensor"] == 0 else None
    rows = PartitionSpec(examples, None, heads)
    split = jax.shard_map(mix, in_specs=(rows, rows, rows, PartitionSpec(examples)), out_specs=rows, check_vma=False)
    mixed: Array = split(query, key, value, gate)
    return mixed


def _mix(kernel: FusedKernel, query: Array, key: Array, value: Array, gate: Array) -> Array:
    """Implements `mix_fused` on one device, without the gradient of the gates."""
    is_any_open = jnp.any(gate > 0, axis=1)
    readable = gate.at[:, 0].set(jnp.where(is_any_open, gate[:, 0], 1.0))
    return jnp.where(is_any_open[:, None, None, None], kernel.mix(query, key, value, readable), 0.0)


_mix_differentiably = jax.custom_vjp(_mix, nondiff_argnums=(0,))


def _forward(kernel: FusedKernel, query: Array, key: Array, value: Array, gate: Array) -> tuple[Array, Any]:
    mixed, pull = jax.vjp(lambda *parts: _mix(kernel, *parts, gate), query, key, value)
    return mixed, (pull, query, key, value, gate)


def _backward(kernel: FusedKernel, kept: Any, gradient: Array) -> tuple[Array, ...]:
    pull, *inputs = kept
    return *pull(gradient), kernel.gate_gradient(*inputs, gradient)


_mix_differentiably.defvjp(_forward, _backward)
