"""Batches cut into microbatches: CPUs are slower on tokens that leave their caches."""

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
    """Examples of a microbatch: a power of two, so that common batches leave no rest.

    Args:
        numbers: Numbers that an example holds on its larger side.
        most: Numbers that are worked on at once.
    """
    return 2 ** max(math.floor(math.log2(most / numbers)), 0)


def cut(part: T, examples: int, size: int) -> list[T]:
    """What belongs to each microbatch.

    Args:
        part: of the batch, with a leading axis of examples, or what all of them share.
        examples: of the batch.
        size: Examples of a microbatch; the last may have fewer.
    """
    if size >= examples:
        return [part]

    def microbatch(leaf: Any, start: int) -> Any:
        return leaf[start : start + size] if jnp.ndim(leaf) else leaf

    return [
        jax.tree.map(lambda leaf, start=start: microbatch(leaf, start), part) for start in range(0, examples, size)
    ]


def join(outputs: Sequence[Any]) -> Any:
    """The output of a whole batch from those of its microbatches; the tokens of several are padded."""
    if len(outputs) == 1:
        return outputs[0]
    return _join([jax.tree.map(_padded, each, is_leaf=_is_packed) for each in outputs])


def _is_packed(part: Any) -> bool:
    return isinstance(part, Packed)


def _padded(part: Any) -> Any:
    return _pad(part) if _is_packed(part) else part


@jax.jit
def _pad(tokens: Packed) -> Padded:
    return Padded(tokens.pad(tokens.values), tokens.padded_gate)


@jax.jit
def _join(outputs: Sequence[Any]) -> Any:
    gates = _concatenate(1, [each.record.gates for each in outputs])
    rest = _concatenate(
        0, [dataclasses.replace(each, record=dataclasses.replace(each.record, gates={})) for each in outputs]
    )
    return dataclasses.replace(rest, record=dataclasses.replace(rest.record, gates=gates))


def _concatenate(axis: int, trees: Sequence[T]) -> T:
    def join_leaves(*leaves: Array) -> Array:
        return jnp.concatenate(leaves, axis=axis)

    return jax.tree.map(join_leaves, *trees)
