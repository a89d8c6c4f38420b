"""The final report of a run, and the measurement of its speed dial."""

import dataclasses

import jax

from smarttrim_jax.data.dataset import Dataset
from smarttrim_jax.data.pipeline import EvalBatches, eval_batches
from smarttrim_jax.models.functional import Params
from smarttrim_jax.training.evaluation import Evaluator, Report
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.trimming.calibration import SpeedDial, calibrate


def measure_dial(evaluator: Evaluator, params: Params, dataset: Dataset) -> SpeedDial:
    """Calibrates on held-out training examples; no test example is seen."""
    config = evaluator.config
    batches = list(_batches(config, dataset, "calibration", config.evaluation.calibration_examples))

    def ratio(offset: float) -> float:
        return evaluator.trimmed(params, batches, offset)["macs_ratio"]

    return calibrate(ratio, sorted({*config.evaluation.speedups, config.cost.target_speedup}))


def build_report(
    evaluator: Evaluator,
    params: Params,
    dataset: Dataset,
    dial: SpeedDial | None,
    split: str,
    speedup: float,
) -> Report:
    """Full and, if there is a dial, trimmed evaluation of a split.

    Raises:
        ConfigError: a speed-up beyond the dial.
        DataError: no such split.
    """
    config = evaluator.config
    offset = None if dial is None else dial.offset_for(speedup)
    full = evaluator.full(params, _batches(config, dataset, split))
    report: Report = {
        "dataset": config.data.dataset,
        "split": split,
        "examples": dataset.split_sizes[split],
        "accuracy": {"full": full["accuracy"]},
        "macs": {"full": full["macs"]},
    }
    if offset is not None:
        trimmed = evaluator.trimmed(params, _batches(config, dataset, split), offset)
        report["accuracy"]["trimmed"] = trimmed["accuracy"]
        report["macs"]["trimmed"] = trimmed["macs"]
        report["speedup"] = {"asked": speedup, "macs": 1.0 / trimmed["macs_ratio"]}
        report["offset"] = offset
        report["kept"] = trimmed["kept"]
    return report


def _batches(config: ExperimentConfig, dataset: Dataset, split: str, limit: int | None = None) -> EvalBatches:
    data = dataclasses.replace(config.data, batch_size=config.evaluation.batch_size)
    return eval_batches(dataset, split, data, jax.process_index(), jax.process_count(), limit)
