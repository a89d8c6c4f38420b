"""How many tokens a trimmed training pass holds in memory, once its budget no longer moves."""

import dataclasses
import math

from smarttrim_jax.configuration import Settings
from smarttrim_jax.ranges import Fraction


@dataclasses.dataclass(frozen=True)
class CapacityConfig(Settings):
    """Closed tokens leave memory once in each encoder, so that a trimming step after the curriculum takes less time.

    A masked pass computes closed tokens like open ones. Here every example keeps the same number of places for its
    open tokens, and for some closed ones from whose gates the others are estimated (`tokens.shortened`). Shares need
    slack: open tokens that do not fit are closed (the metric `overflow` is their share of the open ones), and the
    fewer closed ones are drawn the noisier are the gradients.

    Attributes:
        image: The share of an image's tokens that there are places for; 0 holds all.
        text: The share of a text's tokens, padding among them; 0 holds all.
        after: The share of an encoder's layers that come before.
    """

    image: Fraction = 0.0
    text: Fraction = 0.0
    after: Fraction = 0.5

    @property
    def sides(self) -> tuple[str, ...]:
        """The encoders whose tokens leave memory."""
        return tuple(side for side in ("image", "text") if getattr(self, side))

    def layer(self, run: str, depth: int) -> int:
        """The layer of a run before which tokens leave; `depth` if they do not."""
        return round(self.after * depth) if run in self.sides else depth

    def places(self, run: str, tokens: int) -> int:
        """For so many tokens of an example; at least one."""
        return max(math.ceil(getattr(self, run) * tokens), 1)
