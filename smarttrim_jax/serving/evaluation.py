"""Evaluation of a trained model on a split of its data, by padded or packed execution."""

import dataclasses

from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.errors import DataError
from smarttrim_jax.evaluation.evaluator import Evaluator, Listener, Report
from smarttrim_jax.evaluation.report import build_report
from smarttrim_jax.evaluation.served import ServedEvaluator
from smarttrim_jax.execution.base import ExecutionName
from smarttrim_jax.serving.trained_model import TrainedModel
from smarttrim_jax.training.run_data import prepare_everywhere


def open_data(trained: TrainedModel) -> Dataset:
    """Opens the data set that a model was trained on, on all processes.

    Args:
        trained: The trained model, whose configuration names the data.

    Returns:
        The prepared data set.

    Raises:
        ConfigError: The model was trained in a user's own loop, and names no data.
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


def evaluate(
    trained: TrainedModel,
    dataset: Dataset,
    *,
    split: str | None = None,
    speedup: float | None = None,
    execution: ExecutionName = "padded",
    metrics: tuple[str, ...] = (),
    listener: Listener | None = None,
) -> Report:
    """Evaluates a trained model at full capacity and trimmed.

    Args:
        trained: The trained model.
        dataset: Its data; see `open_data`.
        split: Name of a split; None for the configured one.
        speedup: Speed-up in MACs; None for the one that the model was trained for.
        execution: How batches are executed; see `ExecutionConfig.name`. All but "padded" take one process.
        metrics: Names of the metrics, the primary one first; empty for the configured ones.
        listener: Receives every example; see `evaluation.report.build_report`.

    Returns:
        The report, as training writes it at its end; see `evaluation.report.build_report`.

    Raises:
        ConfigError: The speed-up is beyond the model's dial, or a metric does not exist or fails.
        DataError: There is no such split.
    """
    if metrics:
        evaluation = dataclasses.replace(trained.config.evaluation, metrics=metrics)
        trained = dataclasses.replace(trained, config=dataclasses.replace(trained.config, evaluation=evaluation))
    if execution == "padded":
        evaluator = Evaluator(trained.task, trained.params, dataset)
    else:
        trained = trained.executed(execution)
        evaluator = ServedEvaluator(trained.task, trained.params, dataset, trained.timings)
    where = trained.config.evaluation.split if split is None else split
    return build_report(evaluator, trained.dial, where, trained.speedup(speedup), listener)
