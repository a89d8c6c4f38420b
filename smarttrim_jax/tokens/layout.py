"""The protocol that every memory layout of tokens implements."""

from typing import Protocol, Self

from jaxtyping import Array, Float, Int


class Tokens(Protocol):
    """The token sequences of a batch: the vector of each token, and whether the token is still open.

    Implementations are `Padded` (the training layout), `Shortened` (a training layout that holds only some of the
    tokens) and `Packed` (the inference layout). "Original" tokens below are those that an example had before any were
    removed from memory.
    """

    @property
    def values(self) -> Array:
        """The token vectors, `[..., width]`; the leading axes depend on the layout."""

    @property
    def gate(self) -> Array:
        """The gate of each stored token, one number per vector of `values`: 1 open, 0 closed."""

    @property
    def shape(self) -> tuple[int, int]:
        """The number of examples, and the number of original tokens per example (padding included)."""

    @property
    def padded_gate(self) -> Float[Array, "batch tokens"]:
        """The gate of each original token; 0 for tokens that are no longer in memory."""

    @property
    def counts(self) -> Int[Array, " batch"]:
        """The number of open tokens of each example."""

    @property
    def global_token(self) -> Float[Array, "batch width"]:
        """The vector of the first token ([CLS] or <s>) of each example."""

    def replace(self, values: Array) -> Self:
        """Replaces the token vectors and keeps the gates.

        Args:
            values: New vectors, laid out like `self.values`; the axes behind the token's may differ (`[..., heads,
                head_width]`).

        Returns:
            Tokens with these vectors, and the layout and gates of `self`.
        """

    def spread(self, per_example: Float[Array, "batch ..."]) -> Array:
        """Lays out one array per example so that it broadcasts against `values`.

        Args:
            per_example: One array for each example, `[batch, ...]`.

        Returns:
            The same numbers with the axis `batch` replaced by the leading axes of `values`, or by axes of size 1 that
            broadcast against them.
        """

    def look_up(self, table: Float[Array, "batch tokens *features"]) -> Array:
        """Reads the entry of each stored token from a table over original tokens; `pad` goes the other way.

        Args:
            table: An entry for each original token, `[batch, tokens, *features]`.

        Returns:
            The entries of the stored tokens, laid out like `gate`, `[..., *features]`.
        """

    def pad(self, values: Array) -> Float[Array, "batch tokens *features"]:
        """Moves features of the stored tokens to one row per example, each at its original position.

        Args:
            values: Features of the stored tokens, laid out like `self.values`, `[..., *features]`.

        Returns:
            `[batch, tokens, *features]`, where `tokens` counts original tokens; 0 for tokens that are no longer in
            memory.
        """

    def repeat(self, times: int) -> Self:
        """Repeats each example; the copies follow one another.

        Args:
            times: Copies of each example.

        Returns:
            Tokens of `batch * times` examples, in the order 0, 0, ..., 1, 1, ...
        """

    def take(self, rows: Int[Array, " taken"], copies: int = 1) -> Self:
        """Selects examples by their index.

        Args:
            rows: Indices of the examples, `[taken]`; they may repeat.
            copies: Upper bound on how often one index occurs in `rows`. A packed layout reserves memory for that many
                copies of all its tokens.

        Returns:
            Tokens of the selected examples, in the order of `rows`.
        """

    def split_by_image(self, count: int) -> list[Self]:
        """Splits a batch in which each example has `count` consecutive sequences, one for each of its images.

        Args:
            count: Sequences per example; divides the number of sequences.

        Returns:
            A list of `count` tokens objects: the first holds the first sequence of each example, the second the
            second one, and so on.
        """

    def close(self, decision: Array) -> Self:
        """Closes tokens. A closed token never opens again, and the first token of an example never closes.

        Args:
            decision: 1 keeps a token open, 0 closes it; laid out like `gate`. A token that others were merged into
                gets a number above 1: that of the tokens it stands for now over that before.

        Returns:
            Tokens with the same vectors and the remaining gates.
        """

    def rows(self, values: Array) -> Float[Array, "batch places *features"]:
        """Lays out features of the stored tokens with one row per example, without restoring original positions.

        Args:
            values: Features of the stored tokens, laid out like `self.values`, `[..., *features]`.

        Returns:
            `[batch, places, *features]`, with at least as many places as the longest example needs. Places beyond an
            example's tokens hold arbitrary values; `row_gate` is 0 there.
        """

    @property
    def row_gate(self) -> Float[Array, "batch places"]:
        """The gate in the layout of `rows`; 0 in places that hold no token of the example."""

    def unrow(self, values: Float[Array, "batch places *features"]) -> Array:
        """Reverses `rows`.

        Args:
            values: `[batch, places, *features]`, laid out by `rows`.

        Returns:
            The features of the stored tokens, laid out like `self.values`.
        """
