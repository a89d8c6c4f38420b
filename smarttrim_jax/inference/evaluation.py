"""Evaluation by packed execution: the same report, from the program that serves."""

from typing import Any

import jax

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.inference.executor import PackedExecutor
from smarttrim_jax.training.evaluation import Evaluator
from smarttrim_jax.training.finished import FinishedRun
from smarttrim_jax.training.forward import Batch, inputs
from smarttrim_jax.trimming.gates import Trim


class PackedEvaluator(Evaluator):
    """Evaluates one run as `inference` executes it, in one process.

    Args:
        run: with configuration and parameters.

    Raises:
        ConfigError: there are several processes.
    """

    def __init__(self, run: FinishedRun):
        if jax.process_count() > 1:
            raise ConfigError("packed evaluation is for one process; start it alone, or evaluate padded")
        super().__init__(run)
        self._executor = PackedExecutor(run.model, run.params, run.config.execution)
        self._measure = jax.jit(self.measure)

    def results(self, batch: Batch, trim: Trim | None) -> dict[str, Any]:
        """What `measure` says about a batch."""
        output = self._executor(*inputs(self.run.config, batch), trim=trim)
        self.remarks = {"execution": {"name": "packed", "programs": self._executor.compiled}}
        return self._measure(self.run.params, output, batch, trim)
