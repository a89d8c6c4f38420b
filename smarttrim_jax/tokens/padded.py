"""The training layout, which is also the reference for the other layouts."""

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
    """One row per example, with closed and padding tokens left in place: static shapes, differentiable gates.

    Attributes:
        values: `[batch, tokens, width]`, the token vectors.
        gate: `[batch, tokens]`, 1 open, 0 closed. Padding starts closed; an open token may close and never opens
            again.
    """

    values: Float[Array, "batch tokens *features"]
    gate: Float[Array, "batch tokens"]

    @property
    def shape(self) -> tuple[int, int]:
        """The number of examples, and the number of tokens per example."""
        return self.gate.shape[0], self.gate.shape[1]

    @property
    def padded_gate(self) -> Float[Array, "batch tokens"]:
        """The gate of each token, which is `gate` itself."""
        return self.gate

    @property
    def counts(self) -> Int[Array, " batch"]:
        """The number of open tokens of each example."""
        return jnp.sum(self.gate > 0, axis=1, dtype=jnp.int32)

    @property
    def global_token(self) -> Float[Array, "batch width"]:
        """The vector of the first token of each example."""
        return self.values[:, 0]

    def replace(self, values: Float[Array, "batch tokens *features"]) -> Self:
        """Replaces the token vectors and keeps the gates; see `Tokens.replace`.

        Args:
            values: New vectors, `[batch, tokens, width]`.

        Returns:
            The same sequences with these vectors.
        """
        return dataclasses.replace(self, values=values)

    def spread(self, per_example: Float[Array, "batch ..."]) -> Float[Array, "batch 1 ..."]:
        """Adds a token axis of size 1, which broadcasts against `values`; see `Tokens.spread`.

        Args:
            per_example: One array for each example, `[batch, ...]`.

        Returns:
            `[batch, 1, ...]`.
        """
        return per_example[:, None]

    def look_up(self, table: Float[Array, "batch tokens *features"]) -> Float[Array, "batch tokens *features"]:
        """Returns the table as it is, since all original tokens are stored; see `Tokens.look_up`.

        Args:
            table: An entry for each token, `[batch, tokens, *features]`.

        Returns:
            `table`.
        """
        return table

    def pad(self, values: Float[Array, "batch tokens *features"]) -> Float[Array, "batch tokens *features"]:
        """Returns the features as they are, since all tokens are at their original positions; see `Tokens.pad`.

        Args:
            values: Features of the tokens, `[batch, tokens, *features]`.

        Returns:
            `values`.
        """
        return values

    def repeat(self, times: int) -> Self:
        """Repeats each example; the copies follow one another. See `Tokens.repeat`.

        Args:
            times: Copies of each example.

        Returns:
            Tokens of `batch * times` examples.
        """
        repeated: Self = jax.tree.map(lambda part: jnp.repeat(part, times, axis=0), self)
        return repeated

    def take(self, rows: Int[Array, " taken"], copies: int = 1) -> Self:
        """Selects examples by their index; see `Tokens.take`.

        Args:
            rows: Indices of the examples, `[taken]`.
            copies: Not used by this layout.

        Returns:
            Tokens of the selected examples, in the order of `rows`.
        """
        taken: Self = jax.tree.map(lambda part: part[rows], self)
        return taken

    def split_by_image(self, count: int) -> list[Self]:
        """Splits the sequences of each example's images; see `Tokens.split_by_image`.

        Args:
            count: Sequences per example.

        Returns:
            A list of `count` tokens objects with `batch / count` examples each.
        """
        # A reshape instead of `take`: on a sharded batch a gather would fetch rows from every device.
        parts = jax.tree.map(lambda part: part.reshape(-1, count, *part.shape[1:]), self)
        return [jax.tree.map(lambda part, first=first: part[:, first], parts) for first in range(count)]

    def regroup(self, rows: int) -> "Padded":
        """Joins consecutive rows, so that several examples become one longer row.

        Args:
            rows: Rows of the result; divides the number of examples.

        Returns:
            `Padded` tokens with values `[rows, tokens * batch / rows, width]`; token order is unchanged.
        """
        return Padded(self.values.reshape(rows, -1, self.values.shape[-1]), self.gate.reshape(rows, -1))

    def close(self, decision: Float[Array, "batch tokens"]) -> Self:
        """Multiplies the gate by a decision; the first token of each example stays open. See `Tokens.close`.

        Args:
            decision: `[batch, tokens]`, 1 keeps a token, 0 closes it; gradients flow through it.

        Returns:
            The same vectors with the remaining gates.
        """
        return dataclasses.replace(self, gate=self.gate * decision.at[:, 0].set(1.0))

    def rows(self, values: Float[Array, "batch tokens *features"]) -> Float[Array, "batch tokens *features"]:
        """Returns the features as they are, since each example already is one row; see `Tokens.rows`.

        Args:
            values: Features of the tokens, `[batch, tokens, *features]`.

        Returns:
            `values`.
        """
        return values

    @property
    def row_gate(self) -> Float[Array, "batch tokens"]:
        """The gate in the layout of `rows`, which is `gate` itself."""
        return self.gate

    def unrow(self, values: Float[Array, "batch tokens *features"]) -> Float[Array, "batch tokens *features"]:
        """Returns the features as they are; see `Tokens.unrow`.

        Args:
            values: Features of the tokens, `[batch, tokens, *features]`.

        Returns:
            `values`.
        """
        return values


def first_token_open(mask: Int[Array, "batch tokens"]) -> Float[Array, "batch tokens"]:
    """Makes the initial gate of a sequence from its padding mask.

    Args:
        mask: `[batch, tokens]`, 1 for tokens, 0 for padding.

    Returns:
        `[batch, tokens]`, float32: 1 where the mask is positive and for the first token of each example, else 0.
    """
    return jnp.asarray(mask > 0, jnp.float32).at[:, 0].set(1.0)


def as_tokens(tokens: Tokens | Float[Array, "batch tokens width"]) -> Tokens:
    """Wraps a plain array as tokens, and returns tokens unchanged.

    Args:
        tokens: Tokens in any layout, or an array `[batch, tokens, width]`.

    Returns:
        The tokens; an array becomes `Padded` with every token open.
    """
    if isinstance(tokens, jax.Array | np.ndarray):
        values = jnp.asarray(tokens)
        return Padded(values, jnp.ones(values.shape[:2], jnp.float32))
    return tokens
