"""The inference layout: the kept tokens of the whole batch, stored end to end."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from smarttrim_jax.tokens.layout import Tokens


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Packed:
    """The kept tokens of all examples end to end, in their original order; filler entries follow the last token.

    Projections and MLPs cost what the batch keeps on average, not what its longest example keeps.

    Attributes:
        values: `[packed, width]`, the token vectors.
        gate: `[packed]`, 1 for open tokens; 0 for tokens that were closed since the last compaction and for fillers.
        row: `[packed]`, the index of the example to which each token belongs; the number of examples for fillers.
        position: `[packed]`, the token's index among the original tokens of its example.
        start: `[batch]`, the index at which the tokens of each example start.
        row_capacity: The number of places per example in `rows`; at least the number of stored tokens of any example.
        length: The number of original tokens per example, which is the number of columns of `pad`.
    """

    values: Float[Array, "packed *features"]
    gate: Float[Array, " packed"]
    row: Int[Array, " packed"]
    position: Int[Array, " packed"]
    start: Int[Array, " batch"]
    row_capacity: int = dataclasses.field(metadata={"static": True})
    length: int = dataclasses.field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, int]:
        """The number of examples, and the number of original tokens per example."""
        return self.start.shape[0], self.length

    @property
    def padded_gate(self) -> Float[Array, "batch tokens"]:
        """The gate of each original token; 0 for tokens that are no longer in memory."""
        return self.pad(self.gate)

    @property
    def counts(self) -> Int[Array, " batch"]:
        """The number of open tokens of each example."""
        opened = (self.gate > 0).astype(jnp.int32)
        return jnp.zeros(self.start.shape[0], jnp.int32).at[self.row].add(opened, mode="drop")

    @property
    def lengths(self) -> Int[Array, " batch"]:
        """The number of stored tokens of each example, open or closed."""
        return jnp.diff(self.start, append=jnp.sum(self.row < self.start.shape[0], dtype=jnp.int32))

    @property
    def global_token(self) -> Float[Array, "batch width"]:
        """The vector of the first token of each example."""
        return self.values[self.start]

    def replace(self, values: Float[Array, "packed *features"]) -> "Packed":
        """Replaces the token vectors and keeps the gates; see `Tokens.replace`.

        Args:
            values: New vectors, `[packed, width]`.

        Returns:
            The same sequences with these vectors.
        """
        return dataclasses.replace(self, values=values)

    def spread(self, per_example: Float[Array, "batch ..."]) -> Float[Array, "packed ..."]:
        """Repeats one array per example for each of the example's tokens; see `Tokens.spread`.

        Args:
            per_example: One array for each example, `[batch, ...]`.

        Returns:
            `[packed, ...]`; fillers get the array of the last example.
        """
        return per_example.at[self.row].get(mode="clip")

    def look_up(self, table: Float[Array, "batch tokens *features"]) -> Float[Array, "packed *features"]:
        """Reads the entry of each stored token from a table over original tokens; see `Tokens.look_up`.

        Args:
            table: An entry for each original token, `[batch, tokens, *features]`.

        Returns:
            `[packed, *features]`; fillers get an arbitrary entry.
        """
        return table.at[self.row, self.position].get(mode="clip")

    def pad(self, values: Float[Array, "packed *features"]) -> Float[Array, "batch tokens *features"]:
        """Moves features to one row per example, each at its original position; see `Tokens.pad`.

        Args:
            values: Features of the stored tokens, `[packed, *features]`.

        Returns:
            `[batch, tokens, *features]`; 0 for tokens that are no longer in memory.
        """
        empty = jnp.zeros((self.start.shape[0], self.length, *values.shape[1:]), values.dtype)
        return empty.at[self.row, self.position].set(values, mode="drop")

    def repeat(self, times: int) -> "Packed":
        """Repeats each example; the copies follow one another. See `Tokens.repeat`.

        Args:
            times: Copies of each example.

        Returns:
            Tokens of `batch * times` examples.
        """
        return self.take(jnp.repeat(jnp.arange(self.start.shape[0]), times), times)

    def take(self, rows: Int[Array, " taken"], copies: int = 1) -> "Packed":
        """Selects examples by their index; see `Tokens.take`.

        Args:
            rows: Indices of the examples, `[taken]`.
            copies: Upper bound on how often one index occurs in `rows`. The result has room for `copies * packed`
                tokens, but never for more than `taken * row_capacity`.

        Returns:
            Tokens of the selected examples, in the order of `rows`.
        """
        lengths, count = self.lengths[rows], rows.shape[0]
        start = jnp.cumsum(lengths) - lengths
        places = jnp.arange(min(copies * self.row.shape[0], count * self.row_capacity))
        row = jnp.searchsorted(start, places, side="right") - 1
        taken = self.start[rows[row]] + places - start[row]
        real = places < jnp.sum(lengths)
        return Packed(
            self.values.at[taken].get(mode="clip"),
            jnp.where(real, self.gate.at[taken].get(mode="clip"), 0.0),
            jnp.where(real, row, count),
            self.position.at[taken].get(mode="clip"),
            start,
            self.row_capacity,
            self.length,
        )

    def split_by_image(self, count: int) -> list["Packed"]:
        """Splits the sequences of each example's images; see `Tokens.split_by_image`.

        Args:
            count: Sequences per example.

        Returns:
            A list of `count` tokens objects; each has room for as many tokens as `self`.
        """
        return [self.take(jnp.arange(first, self.start.shape[0], count)) for first in range(count)]

    def close(self, decision: Float[Array, " packed"]) -> "Packed":
        """Multiplies the gate by a decision; the first token of each example stays open. See `Tokens.close`.

        Args:
            decision: `[packed]`, 1 keeps a token, 0 closes it.

        Returns:
            The same vectors with the remaining gates. Closed tokens stay in memory until `compact` removes them.
        """
        return dataclasses.replace(self, gate=self.gate * jnp.where(self.position == 0, 1.0, decision))

    def rows(self, values: Float[Array, "packed *features"]) -> Float[Array, "batch row_capacity *features"]:
        """Lays out features with one row per example; see `Tokens.rows`.

        Args:
            values: Features of the stored tokens, `[packed, *features]`.

        Returns:
            `[batch, row_capacity, *features]`. Places beyond an example's tokens repeat whatever follows in memory.
        """
        if self._is_one_row:
            return values[None]
        return values.at[self._taken].get(mode="clip")

    @property
    def row_gate(self) -> Float[Array, "batch row_capacity"]:
        """The gate in the layout of `rows`; 0 in places that hold no token of the example."""
        # Indices beyond the end must match no example (-1), or the last example would read its last token twice.
        row = self.row.at[self._taken].get(mode="fill", fill_value=-1)
        own = row == jnp.arange(self.start.shape[0])[:, None]
        return jnp.where(own, self.rows(self.gate), 0.0)

    def unrow(self, values: Float[Array, "batch row_capacity *features"]) -> Float[Array, "packed *features"]:
        """Reverses `rows`; see `Tokens.unrow`.

        Args:
            values: `[batch, row_capacity, *features]`, laid out by `rows`.

        Returns:
            `[packed, *features]`; fillers get arbitrary values.
        """
        if self._is_one_row:
            return values[0]
        first = self.row * self.row_capacity - self.start.at[self.row].get(mode="clip")
        flat = values.reshape(-1, *values.shape[2:])
        return flat.at[first + jnp.arange(self.row.shape[0])].get(mode="clip")

    @property
    def _taken(self) -> Int[Array, "batch row_capacity"]:
        """The memory index of each place of `rows`; it may exceed the packed length."""
        return self.start[:, None] + jnp.arange(self.row_capacity)

    @property
    def _is_one_row(self) -> bool:
        """Whether the batch is a single example that fills the memory, so that `rows` needs no gathering."""
        return self.start.shape[0] == 1 and self.row_capacity == self.row.shape[0]


def compact(tokens: Tokens, packed_length: int, row_capacity: int) -> Packed:
    """Removes closed tokens from memory and keeps the open ones in their order.

    Args:
        tokens: Tokens in any layout.
        packed_length: Entries of the result; at least the number of open tokens of the batch.
        row_capacity: Places per example in `Packed.rows`; at least the number of open tokens of any example.

    Returns:
        The open tokens of all examples end to end, with zero-valued fillers up to `packed_length`. Open tokens beyond
        `packed_length` are lost without an error.
    """
    batch, length = tokens.shape
    if isinstance(tokens, Packed):
        values, gate, row, position = tokens.values, tokens.gate, tokens.row, tokens.position
    else:
        values, gate = tokens.values.reshape(batch * length, -1), tokens.gate.reshape(-1)
        row, position = (part.reshape(-1) for part in jnp.indices((batch, length)))
    taken = jnp.nonzero(gate > 0, size=packed_length, fill_value=gate.shape[0])[0]
    counts = tokens.counts
    return Packed(
        values.at[taken].get(mode="fill", fill_value=0),
        gate.at[taken].get(mode="fill", fill_value=0),
        row.at[taken].get(mode="fill", fill_value=batch),
        position.at[taken].get(mode="fill", fill_value=0),
        jnp.cumsum(counts) - counts,
        row_capacity,
        length,
    )
