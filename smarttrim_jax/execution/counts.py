"""The counts of open tokens and heads that the host reads before it removes closed ones from memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from smarttrim_jax.execution.open_heads import OpenHeads
from smarttrim_jax.models.segments import State
from smarttrim_jax.trimming.gates import GateKey, GatesByKey


@dataclasses.dataclass(frozen=True)
class Counts:
    """The counts that the host reads before a layer.

    Attributes:
        tokens: For each side, the open tokens of the whole batch and those of its longest example.
        heads: Whether any example opens a head of the layer.
    """

    tokens: dict[str, tuple[int, int]]
    heads: OpenHeads


def count(state: State, gates: GatesByKey) -> jax.Array:
    """Computes `Counts` as one array of integers, which takes a single transfer to the host.

    Args:
        state: The tokens of each side.
        gates: Gates of a layer; empty for none.

    Returns:
        Two numbers for each side in the order of the sides' names, then one for each head.
    """
    tokens = [state[name].counts for name in sorted(state)]
    numbers = [jnp.stack([jnp.sum(part), jnp.max(part)]) for part in tokens]
    heads = [(jnp.max(opened, axis=0) > 0).astype(jnp.int32) for _, opened in _modules(gates)]
    return jnp.concatenate([*numbers, *heads])


def read_counts(numbers: np.ndarray, state: State, gates: GatesByKey) -> Counts:
    """Reads the array that `count` made for the same state and gates.

    Args:
        numbers: The array, on the host.
        state: The tokens of each side; only the names of the sides are used.
        gates: Gates of a layer; only their keys and shapes are used.

    Returns:
        The counts.
    """
    sides = sorted(state)
    tokens = {name: (int(numbers[2 * i]), int(numbers[2 * i + 1])) for i, name in enumerate(sides)}
    heads, start = {}, 2 * len(sides)
    for key, opened in _modules(gates):
        width = opened.shape[-1]
        heads[key] = numbers[start : start + width] > 0
        start += width
    return Counts(tokens, heads)


def _modules(gates: GatesByKey) -> list[tuple[tuple[GateKey, str], jax.Array]]:
    """Lists the head gates of each attention module in a fixed order."""
    return [((key, part), opened) for key in sorted(gates) for part, opened in gates[key].modules.items()]
