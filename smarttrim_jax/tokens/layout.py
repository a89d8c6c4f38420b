"""What every layout of tokens can do."""

from typing import Protocol, Self

from jaxtyping import Array, Float, Int


class Tokens(Protocol):
    """The sequences of a batch: their vectors, and which of them are still open."""

    @property
    def values(self) -> Array:
        """The vectors, `[..., width]`."""

    @property
    def gate(self) -> Array:
        """1 open, 0 closed, for every vector."""

    @property
    def shape(self) -> tuple[int, int]:
        """Examples, and tokens of each at first."""

    @property
    def padded_gate(self) -> Float[Array, "batch tokens"]:
        """The gate of every token that the example had at first; 0 for those no longer in memory."""

    @property
    def counts(self) -> Int[Array, " batch"]:
        """Open tokens of every example."""

    @property
    def global_token(self) -> Float[Array, "batch width"]:
        """The first token ([CLS], <s>) of every example."""

    def replace(self, values: Array) -> Self:
        """The same sequences with other vectors."""

    def spread(self, per_example: Float[Array, "batch ..."]) -> Array:
        """One array per example, laid out to broadcast against `values`."""

    def look_up(self, table: Float[Array, "batch tokens"]) -> Array:
        """The entry of every vector in a table of all tokens that the examples had at first."""

    def pad(self, values: Array) -> Float[Array, "batch tokens *features"]:
        """Any vectors of these tokens, every example in a row of its own; 0 for tokens no longer in memory."""

    def repeat(self, times: int) -> Self:
        """Every example `times` times, one after the other."""

    def take(self, rows: Int[Array, " taken"], copies: int = 1) -> Self:
        """The examples at `rows`, in that order; none of them more than `copies` times."""

    def split_by_image(self, count: int) -> list[Self]:
        """As many sequences: the first example of every `count` to the first, and so on."""

    def close(self, decision: Array) -> Self:
        """Closes tokens where `decision` is 0; a closed token never opens again, the first never closes."""

    def rows(self, values: Array) -> Float[Array, "batch places *features"]:
        """Any vectors of these tokens, those of an example side by side; as many places as the longest needs."""

    @property
    def row_gate(self) -> Float[Array, "batch places"]:
        """The gate, laid out by `rows`; 0 in places that hold no token of the example."""

    def unrow(self, values: Float[Array, "batch places *features"]) -> Array:
        """From the layout of `rows` back to that of `values`."""
