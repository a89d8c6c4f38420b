"""What every execution of a model offers to those who serve, evaluate and time it."""

from collections.abc import Iterable
from typing import Any, Protocol

from smarttrim_jax.models.base import Output
from smarttrim_jax.trimming.gates import Trim

Batch = tuple[Any, Any, Any]
"""Images, ids and mask, as a model's call takes them."""


class Executor(Protocol):
    """Evaluates a model; closed tokens leave memory."""

    @property
    def compiled(self) -> int:
        """The number of packed programs compiled so far."""

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

    def calibrate(self, batches: Iterable[Batch], *, trim: Trim) -> Any:
        """Measures on examples where removing closed tokens is worth it; outputs do not change.

        Args:
            batches: Batches of examples like those to come.
            trim: How the trimmers will decide.
        """
