"""What a pass through a model returns, whatever its backbone and however it was executed."""

import dataclasses

import jax
from jaxtyping import Array, Float

from smarttrim_jax.models.segments import State
from smarttrim_jax.trimming.gates import TrimRecord


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Output:
    """What a pass returns.

    Attributes:
        logits: float32, by the name of the head or the task; none where a decoder is yet to read the state.
        state: the tokens of every side after the last layer (METER's as many rows as images).
        record: every gate.
        pooled: `[batch, features]`, what METER's heads read: both sides of every image, text first.
    """

    logits: dict[str, Float[Array, "batch ..."]]
    state: State
    record: TrimRecord
    pooled: Float[Array, "batch features"] | None = None

    @property
    def result(self) -> dict[str, Array]:
        """What the pass is for: its logits, or the states that a decoder reads."""
        return self.logits or {"text": self.state["text"].values}
