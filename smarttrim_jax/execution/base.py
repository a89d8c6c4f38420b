"""What every execution of a model offers to those who serve, evaluate and time it."""

from typing import Any, Literal, Protocol

from smarttrim_jax.models.base import Output
from smarttrim_jax.trimming.gates import Trim

Batch = tuple[Any, Any, Any]
"""Images, ids and mask, as a model's call takes them."""

Execution = Literal["padded", "packed", "one_program"]
"""How a batch is executed: with closed tokens masked, with closed tokens out of memory as the host decides layer by
layer, or with closed tokens out of memory within one program."""
ExecutionName = Literal["auto", "padded", "packed", "one_program"]
"""An execution, or "auto" for the one that suits a batch's size and the device."""


class Executor(Protocol):
    """Evaluates a model."""

    @property
    def description(self) -> str:
        """The name of the execution, and what may be said of its choice."""

    @property
    def compiled(self) -> int:
        """The number of programs for trimmed batches compiled so far."""

    def __call__(self, images: Any, ids: Any = None, mask: Any = None, *, trim: Trim | None = None) -> Output:
        """Evaluates one batch.

        Args:
            images: Normalised images, `[batch, height, width, 3]` or `[batch, images, height, width, 3]`.
            ids: Token ids of the texts, `[batch, tokens]`; None for a model of images alone.
            mask: 1 for tokens, 0 for padding, `[batch, tokens]`; None where there are no ids.
            trim: How the trimmers decide; None runs at full capacity.

        Returns:
            The output of the model's call, except that the tokens of its state may be packed.
        """
