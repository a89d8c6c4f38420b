"""Evaluation by the executions of trained models that are served."""

from collections.abc import Callable
from typing import Any

import jax

from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.evaluation.evaluator import Evaluator
from smarttrim_jax.execution.auto import make_executor
from smarttrim_jax.execution.timings import ExecutionTimings
from smarttrim_jax.models.functional import Params
from smarttrim_jax.tasks import Task
from smarttrim_jax.tasks.base import Batch, model_inputs
from smarttrim_jax.trimming.gates import Trim


class ServedEvaluator(Evaluator):
    """Evaluates a model as it is served, by the execution that its configuration names.

    Args:
        task: Task that the model was trained for.
        params: The model's parameters.
        dataset: Data to evaluate on.
        timings: Measured times of the model's executions; None for none.

    Raises:
        ConfigError: There are several processes.
    """

    def __init__(self, task: Task, params: Params, dataset: Dataset, timings: ExecutionTimings | None = None):
        if jax.process_count() > 1:
            raise ConfigError("a model is served by one process; start this evaluation alone, or evaluate padded")
        super().__init__(task, params, dataset)
        self._executor = make_executor(task.model, params, task.config.execution, timings)
        self._measure: Callable[..., dict[str, Any]] = jax.jit(self.measure)

    def results(self, batch: Batch, trim: Trim | None) -> dict[str, Any]:
        """Computes a batch.

        Args:
            batch: Arrays by name.
            trim: How the trimmers decide; None runs at full capacity.

        Returns:
            The result of `measure`. `remarks` then names the execution and the number of compiled programs.
        """
        output = self._executor(*model_inputs(self.task.config, batch), trim=trim)
        self.remarks = {"execution": {"name": self._executor.description, "programs": self._executor.compiled}}
        return self._measure(self.params, output, batch, trim)
