"""Evaluation by packed execution, as trained models are served."""

from collections.abc import Callable
from typing import Any, ClassVar

import jax

from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.evaluation.evaluator import Evaluator
from smarttrim_jax.execution.executor import PackedExecutor
from smarttrim_jax.execution.one_program_executor import OneProgramExecutor
from smarttrim_jax.models.functional import Params
from smarttrim_jax.tasks import Task
from smarttrim_jax.tasks.base import Batch, model_inputs
from smarttrim_jax.trimming.gates import Trim


class PackedEvaluator(Evaluator):
    """Evaluates a model by packed execution, in which closed tokens leave memory; one process only.

    Args:
        task: Task that the model was trained for.
        params: The model's parameters.
        dataset: Data to evaluate on.

    Attributes:
        name: Name of the execution in reports.
        executor: Class that executes.

    Raises:
        ConfigError: There are several processes.
    """

    name: ClassVar[str] = "packed"
    executor: ClassVar[type[PackedExecutor | OneProgramExecutor]] = PackedExecutor

    def __init__(self, task: Task, params: Params, dataset: Dataset):
        if jax.process_count() > 1:
            raise ConfigError("packed evaluation is for one process; start it alone, or evaluate padded")
        super().__init__(task, params, dataset)
        self._executor = self.executor(task.model, params, task.config.execution)
        self._measure: Callable[..., dict[str, Any]] = jax.jit(self.measure)

    def results(self, batch: Batch, trim: Trim | None) -> dict[str, Any]:
        """Runs the model on one batch by packed execution and measures the result; see `Evaluator.results`.

        Args:
            batch: Batch on the devices.
            trim: How the trimmers decide; None for full capacity.

        Returns:
            The result of `measure`. `remarks` then names the execution and the number of compiled programs.
        """
        output = self._executor(*model_inputs(self.task.config, batch), trim=trim)
        self.remarks = {"execution": {"name": self.name, "programs": self._executor.compiled}}
        return self._measure(self.params, output, batch, trim)


class OneProgramEvaluator(PackedEvaluator):
    """Evaluates a model by packed execution that the device leads: one program a batch."""

    name = "one_program"
    executor = OneProgramExecutor


EVALUATORS: dict[str, type[Evaluator]] = {
    "padded": Evaluator,
    "packed": PackedEvaluator,
    "one_program": OneProgramEvaluator,
}
"""Evaluators by execution: "padded" masks closed tokens, as training does; "packed" removes them from memory, led by
the host; "one_program" does so in one program a batch."""
