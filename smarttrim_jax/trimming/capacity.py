"""How many tokens a trimmed training pass holds in memory, after the curriculum has reached its target."""

import dataclasses
import math

from smarttrim_jax.configuration import Settings
from smarttrim_jax.ranges import Fraction


@dataclasses.dataclass(frozen=True)
class CapacityConfig(Settings):
    """Removal of closed tokens from memory, once in each encoder, so that a training step takes less time.

    Without it, training computes closed tokens like open ones and masks them. With it, each example keeps a fixed
    number of places for its open tokens and for some closed ones, from whose gates the gradients of the others are
    estimated (see `tokens.shortened`). It applies to trimming steps after the curriculum. Choose shares with slack:
    open tokens that find no place are closed (the metric `overflow` is their share of the open tokens), and the fewer
    closed tokens are kept, the noisier are the gradients.

    Attributes:
        image: The share of an image's tokens that there are places for; 0 keeps all tokens in memory.
        text: The share of a text's tokens, padding included, that there are places for; 0 keeps all tokens in memory.
        after: The share of an encoder's layers that run before the removal.
    """

    image: Fraction = 0.0
    text: Fraction = 0.0
    after: Fraction = 0.5

    @property
    def sides(self) -> tuple[str, ...]:
        """The encoders whose closed tokens are removed from memory: "image", "text", both or none."""
        return tuple(side for side in ("image", "text") if getattr(self, side))

    def layer(self, run: str, depth: int) -> int:
        """Returns the layer before which tokens are removed.

        Args:
            run: Name of the run of layers; only the encoders "image" and "text" remove tokens.
            depth: Number of layers of the run.

        Returns:
            The index of the layer; `depth` if no tokens are removed in the run.
        """
        return round(self.after * depth) if run in self.sides else depth

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
