"""The training layout, and the reference of every other."""

import dataclasses
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from smarttrim_jax.tokens.layout import Tokens


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Padded:
    """Every example in a row of its own, closed and padding tokens in place: static shapes, differentiable gates.

    Attributes:
        values: `[batch, tokens, width]`.
        gate: `[batch, tokens]`, 1 open, 0 closed (padding starts closed); only ever closes.
    """

    values: Float[Array, "batch tokens width"]
    gate: Float[Array, "batch tokens"]

    @property
    def shape(self) -> tuple[int, int]:
        """Examples, and tokens of each."""
        return self.gate.shape[0], self.gate.shape[1]

    @property
    def padded_gate(self) -> Float[Array, "batch tokens"]:
        """The gate itself."""
        return self.gate

    @property
    def counts(self) -> Int[Array, " batch"]:
        """Open tokens of every example."""
        return jnp.sum(self.gate > 0, axis=1, dtype=jnp.int32)

    @property
    def global_token(self) -> Float[Array, "batch width"]:
        """The first token of every example."""
        return self.values[:, 0]

    def replace(self, values: Float[Array, "batch tokens width"]) -> Self:
        """The same sequences with other vectors."""
        return dataclasses.replace(self, values=values)

    def spread(self, per_example: Float[Array, "batch ..."]) -> Float[Array, "batch 1 ..."]:
        """One array per example, to broadcast against `values`."""
        return per_example[:, None]

    def look_up(self, table: Float[Array, "batch tokens"]) -> Float[Array, "batch tokens"]:
        """The table itself."""
        return table

    def pad(self, values: Float[Array, "batch tokens *features"]) -> Float[Array, "batch tokens *features"]:
        """The vectors as they are."""
        return values

    def repeat(self, times: int) -> Self:
        """Every example `times` times, one after the other."""
        return jax.tree.map(lambda part: jnp.repeat(part, times, axis=0), self)

    def take(self, rows: Int[Array, " taken"], copies: int = 1) -> Self:
        """The examples at `rows`, in that order."""
        return jax.tree.map(lambda part: part[rows], self)

    def split_by_image(self, count: int) -> list[Self]:
        """The first example of every `count`, the second, and so on."""
        # Reshaped and not taken: on many devices a gather would fetch from all.
        parts = jax.tree.map(lambda part: part.reshape(-1, count, *part.shape[1:]), self)
        return [jax.tree.map(lambda part, first=first: part[:, first], parts) for first in range(count)]

    def regroup(self, rows: int) -> "Padded":
        """The same tokens in fewer rows, each of several that follow one another."""
        return Padded(self.values.reshape(rows, -1, self.values.shape[-1]), self.gate.reshape(rows, -1))

    def close(self, decision: Float[Array, "batch tokens"]) -> Self:
        """Multiplies the gate by `decision` (0 or 1, differentiable); the first token stays open."""
        return dataclasses.replace(self, gate=self.gate * decision.at[:, 0].set(1.0))

    def rows(self, values: Float[Array, "batch tokens *features"]) -> Float[Array, "batch tokens *features"]:
        """The vectors as they are."""
        return values

    @property
    def row_gate(self) -> Float[Array, "batch tokens"]:
        """The gate itself."""
        return self.gate

    def unrow(self, values: Float[Array, "batch tokens *features"]) -> Float[Array, "batch tokens *features"]:
        """The vectors as they are."""
        return values


def first_token_open(mask: Int[Array, "batch tokens"]) -> Float[Array, "batch tokens"]:
    """The initial gate of a padding mask: 1 where it is set, and for the global token."""
    return jnp.asarray(mask > 0, jnp.float32).at[:, 0].set(1.0)


def as_tokens(tokens: Tokens | Float[Array, "batch tokens width"]) -> Tokens:
    """Tokens in their layout, or those of a plain array, all of them open.

    Args:
        tokens: Tokens of any layout, or `[batch, tokens, width]`.

    Returns:
        The tokens.
    """
    if isinstance(tokens, jax.Array | np.ndarray):
        values = jnp.asarray(tokens)
        return Padded(values, jnp.ones(values.shape[:2], jnp.float32))
    return tokens
