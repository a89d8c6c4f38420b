"""Batches split into microbatches: CPUs are slower on tokens that do not fit their caches."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from smarttrim_jax.tokens import Packed, Padded

T = TypeVar("T")


def examples_at_once(numbers: float, most: int) -> int:
    """Returns the number of examples of a microbatch: a power of two, which divides common batch sizes.

    Args:
        numbers: Numbers (tokens times width) that an example holds on its larger side.
        most: Largest number of numbers to compute at once.

    Returns:
        The number of examples, at least 1.
    """
    return 1 << max(math.floor(math.log2(most / numbers)), 0)


def cut(part: T, examples: int, size: int) -> list[T]:
    """Splits a tree of arrays into microbatches.

    Args:
        part: Tree whose arrays have a leading axis of examples; scalars are shared by all microbatches.
        examples: Number of examples of the batch.
        size: Number of examples of a microbatch; the last one may have fewer.

    Returns:
        The part of each microbatch.
    """
    if size >= examples:
        return [part]

    def microbatch(leaf: Any, start: int) -> Any:
        return leaf[start : start + size] if jnp.ndim(leaf) else leaf

    return [
        jax.tree.map(lambda leaf, start=start: microbatch(leaf, start), part) for start in range(0, examples, size)
    ]


def join(outputs: Sequence[Any]) -> Any:
    """Joins the outputs of microbatches to that of the whole batch.

    Args:
        outputs: The `Output` of each microbatch, in order.

    Returns:
        The output of the batch. Packed tokens become padded if there are several microbatches.
    """
    if len(outputs) == 1:
        return outputs[0]
    return _join([jax.tree.map(_padded, each, is_leaf=_is_packed) for each in outputs])


def _is_packed(part: Any) -> bool:
    return isinstance(part, Packed)


def _padded(part: Any) -> Any:
    """Pads packed tokens and returns anything else unchanged."""
    return _pad(part) if _is_packed(part) else part


@jax.jit
def _pad(tokens: Packed) -> Padded:
    return Padded(tokens.pad(tokens.values), tokens.padded_gate)


@jax.jit
def _join(outputs: Sequence[Any]) -> Any:
    """Concatenates outputs: gates along axis 1, behind the axis of layers, and all other arrays along axis 0."""
    gates = _concatenate(1, [each.record.gates for each in outputs])
    rest = _concatenate(
        0, [dataclasses.replace(each, record=dataclasses.replace(each.record, gates={})) for each in outputs]
    )
    return dataclasses.replace(rest, record=dataclasses.replace(rest.record, gates=gates))


def _concatenate(axis: int, trees: Sequence[T]) -> T:
    def join_leaves(*leaves: Array) -> Array:
        return jnp.concatenate(leaves, axis=axis)

    joined: T = jax.tree.map(join_leaves, *trees)
    return joined
