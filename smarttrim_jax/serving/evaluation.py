"""A trained model judged on a split of its data, by either execution."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.errors import ConfigError, DataError
from smarttrim_jax.execution.executor import PackedExecutor
from smarttrim_jax.serving.trained_model import TrainedModel
from smarttrim_jax.training.evaluation import Evaluator, Listener, Report
from smarttrim_jax.training.model_inputs import Batch, inputs
from smarttrim_jax.training.report import build_report
from smarttrim_jax.training.run_data import prepare_everywhere
from smarttrim_jax.trimming.gates import Trim


class PackedEvaluator(Evaluator):
    """Evaluates a model as `inference` executes it, in one process.

    Args:
        trained: The model.
        dataset: The data to evaluate on.

    Raises:
        ConfigError: There are several processes.
    """

    def __init__(self, trained: TrainedModel, dataset: Dataset):
        if jax.process_count() > 1:
            raise ConfigError("packed evaluation is for one process; start it alone, or evaluate padded")
        super().__init__(trained.task, trained.params, dataset)
        self._executor = PackedExecutor(trained.model, trained.params, trained.config.execution)
        self._measure = jax.jit(self.measure)

    def results(self, batch: Batch, trim: Trim | None) -> dict[str, Any]:
        """What `measure` says about a batch."""
        output = self._executor(*inputs(self.task.config, batch), trim=trim)
        self.remarks = {"execution": {"name": "packed", "programs": self._executor.compiled}}
        return self._measure(self.params, output, batch, trim)


def open_data(trained: TrainedModel) -> Dataset:
    """The data set that a model was trained on, on all processes.

    Raises:
        ConfigError: The model was trained in a loop of its user's own, and names no data.
        DataError: The data cannot be opened, or is not what the model was trained on.
    """
    config = trained.config.data
    dataset = prepare_everywhere(config)
    if config.fingerprint not in ("", dataset.fingerprint):
        raise DataError(
            f"the {config.dataset} in '{config.data_dir}' is not the data that this model was trained on: its "
            f"fingerprint is {dataset.fingerprint[:12]}, not {config.fingerprint[:12]}; prepare it from the same "
            "source in another --data_dir"
        )
    return dataset


def padded_evaluator(trained: TrainedModel, dataset: Dataset) -> Evaluator:
    """Evaluates a model by padded execution."""
    return Evaluator(trained.task, trained.params, dataset)


EVALUATORS: dict[str, Callable[[TrainedModel, Dataset], Evaluator]] = {
    "padded": padded_evaluator,
    "packed": PackedEvaluator,
}
"""By execution: closed tokens masked, as in training, or out of memory."""


def evaluate(
    trained: TrainedModel,
    dataset: Dataset,
    *,
    split: str | None = None,
    speedup: float | None = None,
    execution: str = "padded",
    metrics: tuple[str, ...] = (),
    listener: Listener | None = None,
) -> Report:
    """Evaluates a trained model at full capacity and trimmed.

    Args:
        trained: The model.
        dataset: Its data, see `open_data`.
        split: Name of a split; the configured one by default.
        speedup: In MACs; by default the one that the model was trained for.
        execution: One of `EVALUATORS`.
        metrics: Names of what is computed, the primary metric first; the configured ones by default.
        listener: Is told about every example, see `training.report.build_report`.

    Returns:
        The report, as training writes it at its end.

    Raises:
        ConfigError: A speed-up beyond the model's dial, or a metric that there is not or that fails.
        DataError: No such split.
    """
    if metrics:
        evaluation = dataclasses.replace(trained.config.evaluation, metrics=metrics)
        trained = dataclasses.replace(trained, config=dataclasses.replace(trained.config, evaluation=evaluation))
    evaluator = EVALUATORS[execution](trained, dataset)
    where = trained.config.evaluation.split if split is None else split
    return build_report(evaluator, trained.dial, where, trained.speedup(speedup), listener)
