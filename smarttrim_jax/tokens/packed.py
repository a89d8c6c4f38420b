"""The inference layout: only kept tokens, those of the whole batch end to end."""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from smarttrim_jax.tokens.layout import Tokens


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Packed:
    """The kept tokens of all examples end to end, an example's in their order; fillers at the end.

    Projections and MLPs cost what the batch keeps on average, not what its longest example keeps.

    Attributes:
        values: `[packed, width]`.
        gate: `[packed]`, 1 open, 0 closed since the last compaction, or a filler.
        row: `[packed]`, the example of every token; the number of examples for fillers.
        position: `[packed]`, the token's place in its example at first.
        start: `[batch]`, where each example starts.
        row_capacity: At least the longest example's packed length: the width of `rows`.
        length: tokens of an example at first: the width of `pad`.
    """

    values: Float[Array, "packed width"]
    gate: Float[Array, " packed"]
    row: Int[Array, " packed"]
    position: Int[Array, " packed"]
    start: Int[Array, " batch"]
    row_capacity: int = dataclasses.field(metadata={"static": True})
    length: int = dataclasses.field(metadata={"static": True})

    @property
    def shape(self) -> tuple[int, int]:
        """Examples, and tokens of each at first."""
        return self.start.shape[0], self.length

    @property
    def padded_gate(self) -> Float[Array, "batch tokens"]:
        """The gate of every token that the example had at first."""
        return self.pad(self.gate)

    @property
    def counts(self) -> Int[Array, " batch"]:
        """Open tokens of every example."""
        opened = (self.gate > 0).astype(jnp.int32)
        return jnp.zeros(self.start.shape[0], jnp.int32).at[self.row].add(opened, mode="drop")

    @property
    def lengths(self) -> Int[Array, " batch"]:
        """Tokens of every example in memory, open or closed."""
        return jnp.diff(self.start, append=jnp.sum(self.row < self.start.shape[0], dtype=jnp.int32))

    @property
    def global_token(self) -> Float[Array, "batch width"]:
        """The first token of every example."""
        return self.values[self.start]

    def replace(self, values: Float[Array, "packed width"]) -> "Packed":
        """The same sequences with other vectors."""
        return dataclasses.replace(self, values=values)

    def spread(self, per_example: Float[Array, "batch ..."]) -> Float[Array, "packed ..."]:
        """One array per example, for each of its tokens."""
        return per_example.at[self.row].get(mode="clip")

    def look_up(self, table: Float[Array, "batch tokens"]) -> Float[Array, " packed"]:
        """The entry of every token in a table of all tokens that the examples had at first."""
        return table.at[self.row, self.position].get(mode="clip")

    def pad(self, values: Float[Array, "packed *features"]) -> Float[Array, "batch tokens *features"]:
        """Any vectors of these tokens, every example in a row of its own; 0 for tokens no longer here."""
        empty = jnp.zeros((self.start.shape[0], self.length, *values.shape[1:]), values.dtype)
        return empty.at[self.row, self.position].set(values, mode="drop")

    def repeat(self, times: int) -> "Packed":
        """Every example `times` times, one after the other."""
        return self.take(jnp.repeat(jnp.arange(self.start.shape[0]), times), times)

    def take(self, rows: Int[Array, " taken"], copies: int = 1) -> "Packed":
        """The examples at `rows`, in that order, in memory for as many `copies` of these tokens as they may need."""
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
        """The first example of every `count`, the second, and so on, each in as much memory as these tokens."""
        return [self.take(jnp.arange(first, self.start.shape[0], count)) for first in range(count)]

    def close(self, decision: Float[Array, " packed"]) -> "Packed":
        """Multiplies the gate by `decision` (0 or 1); the first token of every example stays open."""
        return dataclasses.replace(self, gate=self.gate * jnp.where(self.position == 0, 1.0, decision))

    def rows(self, values: Float[Array, "packed *features"]) -> Float[Array, "batch row_capacity *features"]:
        """The vectors of an example side by side; behind them whatever comes next in memory."""
        if self._is_one_row:
            return values[None]
        return values.at[self._taken].get(mode="clip")

    @property
    def row_gate(self) -> Float[Array, "batch row_capacity"]:
        """The gate, laid out by `rows`; 0 where a place holds no token of the example."""
        # What lies beyond the end belongs to no example, or the last one would read its last token twice.
        row = self.row.at[self._taken].get(mode="fill", fill_value=-1)
        own = row == jnp.arange(self.start.shape[0])[:, None]
        return jnp.where(own, self.rows(self.gate), 0.0)

    def unrow(self, values: Float[Array, "batch row_capacity *features"]) -> Float[Array, "packed *features"]:
        """From the layout of `rows` back to that of `values`."""
        if self._is_one_row:
            return values[0]
        first = self.row * self.row_capacity - self.start.at[self.row].get(mode="clip")
        flat = values.reshape(-1, *values.shape[2:])
        return flat.at[first + jnp.arange(self.row.shape[0])].get(mode="clip")

    @property
    def _taken(self) -> Int[Array, "batch row_capacity"]:
        """Where the tokens of an example lie."""
        return self.start[:, None] + jnp.arange(self.row_capacity)

    @property
    def _is_one_row(self) -> bool:
        """A single example needs no gathering: its tokens are its row."""
        return self.start.shape[0] == 1 and self.row_capacity == self.row.shape[0]


def compact(tokens: Tokens, packed_length: int, row_capacity: int) -> Packed:
    """The open tokens alone, in their order.

    Args:
        tokens: in any layout.
        packed_length: At least the number of open tokens of the batch.
        row_capacity: At least the number of open tokens of any example.
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
