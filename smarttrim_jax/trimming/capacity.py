"""How many tokens a trimmed training pass holds in memory, after the curriculum has reached its target."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Self

import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.configuration import Settings
from smarttrim_jax.ranges import Fraction, NonNegativeInt

SIDES = ("image", "text")
"""The encoders whose tokens can leave memory."""
FITTING = 0.98
"""The share of a batch's examples that measured places suffice for."""
SLACK = 0.05
"""The share of its tokens that an example has places for beyond those measured, for closed tokens."""
PARTS = 8
"""Measured shares are rounded up to multiples of 1 / PARTS."""
MEMORY = 0.9
"""Weight of earlier batches in what is measured; the latest one has the rest."""


@dataclasses.dataclass(frozen=True)
class CapacityConfig(Settings):
    """Removal of closed tokens from memory, once in each encoder, so that a training step takes less time.

    Without it, training computes closed tokens like open ones and masks them. With it, each example keeps a fixed
    number of places for its open tokens and for some closed ones, from whose gates the gradients of the others are
    estimated (see `tokens.shortened`). It applies to trimming steps after the curriculum. Open tokens that find no
    place are closed (the metric `overflow` is their share of the open tokens), and the fewer closed tokens are kept,
    the noisier are the gradients; measured shares leave slack for both.

    Attributes:
        measured: Whether the curriculum measures which shares examples need, for the encoders whose share is 0.
        fewest_steps: With fewer steps after the curriculum nothing is measured, since the shortened step has to be
            compiled first.
        image: The share of an image's tokens that there are places for; 0 is measured, or keeps all in memory.
        text: The share of a text's tokens, padding included, that there are places for; 0 as with `image`.
        after: The share of an encoder's layers that run before the removal.
    """

    measured: bool = True
    fewest_steps: NonNegativeInt = 500
    image: Fraction = 0.0
    text: Fraction = 0.0
    after: Fraction = 0.5

    @property
    def sides(self) -> tuple[str, ...]:
        """The encoders whose closed tokens are removed from memory: "image", "text", both or none."""
        return tuple(side for side in SIDES if getattr(self, side))

    @property
    def described(self) -> str:
        """The shares in words, such as "62.5 % of an image's tokens"; empty if all tokens stay in memory."""
        article = {"image": "an", "text": "a"}
        return " and ".join(f"{getattr(self, side):.1%} of {article[side]} {side}'s tokens" for side in self.sides)

    def layer(self, run: str, depth: int) -> int:
        """Returns the layer before which tokens are removed.

        Args:
            run: Name of the run of layers; only the encoders "image" and "text" remove tokens.
            depth: Number of layers of the run.

        Returns:
            The index of the layer; `depth` if no tokens are removed in the run.
        """
        return self.point(depth) if run in self.sides else depth

    def point(self, depth: int) -> int:
        """Returns the layer before which an encoder that removes tokens does so.

        Args:
            depth: Number of layers of the encoder.

        Returns:
            The index of the layer.
        """
        return round(self.after * depth)

    def places(self, run: str, tokens: int) -> int:
        """Returns the number of places per example after the removal.

        Args:
            run: "image" or "text".
            tokens: Tokens of an example before the removal.

        Returns:
            The share of the tokens, rounded up; at least 1.
        """
        share: float = getattr(self, run)
        return max(math.ceil(share * tokens), 1)

    def with_measured(self, needed: Mapping[str, float]) -> Self:
        """Fills in the shares that were measured.

        Args:
            needed: For each measured encoder, the share of its tokens that examples have open before the removal; 0
                if nothing was measured.

        Returns:
            The capacity with these shares, rounded up with slack. Where nearly all tokens stay open the share is 0,
            since a removal would save nothing.
        """
        shares: dict[str, Any] = {}
        for side, need in needed.items():
            share = math.ceil((need + SLACK) * PARTS) / PARTS
            if need > 0 and share < 1:
                shares[side] = share
        return dataclasses.replace(self, **shares)


def remembered(before: Float[Array, ""], now: Float[Array, ""]) -> Float[Array, ""]:
    """Averages what batch after batch needs; the latest count most.

    Args:
        before: Average over the batches before; 0 for none.
        now: Need of the latest batch.

    Returns:
        The average with the latest batch.
    """
    return jnp.where(before > 0, MEMORY * before + (1 - MEMORY) * now, now)
