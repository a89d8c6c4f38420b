"""Trimmers that are overruled: given gates on an untrained model, at the cost of the real ones."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.tokens import Tokens

CERTAIN = 1e3
"""A logit that no speed dial turns."""


class ForcedTokenTrimmer(nnx.Module):
    """A token trimmer that computes as ever, and then decides by a table.

    Args:
        trimmer: whose place it takes.
        keep: `[batch, tokens]`, 1 keep, 0 drop, for the tokens that the examples had at first, or one row for all
            of them; what lies between is kept from an offset on, see `offset_that_keeps`.
    """

    def __init__(self, trimmer: nnx.Module, keep: Array):
        self.trimmer, self.keep = trimmer, nnx.Param(keep)

    def __call__(self, tokens: Tokens, other: Float[Array, "batch width"] | None) -> Float[Array, "... 2"]:
        """(keep, drop) logits of every token."""
        return _overruled(self.trimmer(tokens=tokens, other=other), tokens.look_up(self.keep[...]))


class ForcedHeadTrimmer(nnx.Module):
    """A head trimmer that computes as ever, and then decides by a table.

    Args:
        trimmer: whose place it takes.
        keep: `[batch, heads]`, or one row for all examples.
    """

    def __init__(self, trimmer: nnx.Module, keep: Array):
        self.trimmer, self.keep = trimmer, nnx.Param(keep)

    def __call__(self, own: Array, other: Array | None = None) -> Float[Array, "batch heads 2"]:
        """(keep, drop) logits of every head."""
        return _overruled(self.trimmer(own, other), self.keep[...])


def _overruled(logits: Float[Array, "... 2"], keep: Float[Array, "..."]) -> Float[Array, "... 2"]:
    """The table's decision; the trimmer's own stays in it, too small to matter, so that it is computed."""
    wish = CERTAIN * (2.0 * keep - 1.0)
    return 1e-9 * logits + jnp.stack([wish, -wish], axis=-1)


def offset_that_keeps(share: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """The offset at which the entries of a table from `1 - share` on are kept, and those of 1 at any share."""
    return 2 * CERTAIN * (2.0 * share - 1.0)
