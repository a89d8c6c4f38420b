"""Padded execution: one program in which closed tokens are masked, as in training."""

from collections.abc import Callable
from typing import Any

import jax

from smarttrim_jax.execution.config import ExecutionConfig
from smarttrim_jax.models.base import Output
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.trimming.gates import Trim


class PaddedExecutor:
    """Evaluates a model with closed tokens masked; nothing is saved.

    Args:
        model: The model as functions of its parameters.
        params: The model's parameters.
        config: Not used; other executions, which are created alike, use it.

    Attributes:
        description: Name of the execution.
        compiled: Number of programs for trimmed batches compiled so far.
    """

    description = "padded"

    def __init__(self, model: Functional, params: Params, config: ExecutionConfig | None = None):
        self.compiled = 0
        self._params = params
        self._model = model
        self._program: Callable[..., Output] = jax.jit(self._apply)

    def __call__(self, images: Any, ids: Any = None, mask: Any = None, *, trim: Trim | None = None) -> Output:
        """Evaluates one batch; see `Executor.__call__`."""
        return self._program(self._params, images, ids, mask, trim)

    def _apply(self, params: Params, images: Any, ids: Any, mask: Any, trim: Trim | None) -> Output:
        self.compiled += trim is not None  # runs when jit traces
        output: Output = self._model.apply(params, images, ids, mask, trim=trim)
        return output
