"""The final report of a run, and the measurement of its speed dial."""

import itertools
from collections.abc import Sequence

from smarttrim_jax.evaluation.evaluator import Evaluator, Listener, Report
from smarttrim_jax.tasks.base import Batch
from smarttrim_jax.trimming.calibration import SpeedDial, calibrate

ROUGHLY = 8
"""The part of the calibration examples with which offsets are searched, before all of them measure what was found."""


def measure_dial(evaluator: Evaluator) -> SpeedDial:
    """Calibrates on held-out training examples; no test example is seen.

    Args:
        evaluator: Of a trained model and its data.

    Returns:
        The dial; of a policy without one a single point, the speed that the policy has.
    """
    config = evaluator.task.config
    batches = list(evaluator.batches("calibration", limit=config.evaluation.calibration_examples))
    trimming = config.model.trimming
    if trimming is not None and not trimming.policy.has_dial:
        return SpeedDial((0.0,), (evaluator.macs_ratio(batches, 0.0, "measuring the policy's speed-up"),))
    speedups = sorted({*config.evaluation.speedups, config.cost.target_speedup})
    few = batches[: max(1, len(batches) // ROUGHLY)]
    near = _calibrated(evaluator, few, speedups, None) if len(few) < len(batches) else None
    return _calibrated(evaluator, batches, speedups, near)


def _calibrated(
    evaluator: Evaluator, batches: Sequence[Batch], speedups: Sequence[float], near: SpeedDial | None
) -> SpeedDial:
    passes = itertools.count(1)
    # Both find where the dial ends, and then each speed-up: a near dial knows about where.
    about = 3 + 3 * len(speedups) if near is None else 2 + 2 * len(speedups)

    def ratio(offset: float) -> float:
        what = f"calibrating {len(speedups)} speed-ups, pass {next(passes)} of about {about}"
        return evaluator.macs_ratio(batches, offset, what)

    return calibrate(ratio, speedups, near=near)


def build_report(
    evaluator: Evaluator, dial: SpeedDial | None, split: str, speedup: float, listener: Listener | None = None
) -> Report:
    """Full and, if there is a dial, trimmed evaluation of a split.

    Args:
        evaluator: Of a trained model and its data.
        dial: The model's speed dial; None if it never trimmed.
        split: Name of a split of the data.
        speedup: In MACs.
        listener: Is told about every example of the trimmed evaluation, or of the full one where there is no other.

    Returns:
        `metrics` of both passes by name, the primary one's name, MACs, speed-up, offset and what layers kept.

    Raises:
        ConfigError: A speed-up beyond the dial, or a metric that fails.
        DataError: No such split.
    """
    config = evaluator.task.config
    offset = None if dial is None else dial.offset_for(speedup)
    limit = config.evaluation.examples or None
    full = evaluator.full(evaluator.batches(split, limit=limit), listener if offset is None else None)
    size = evaluator.dataset.split_sizes[split]
    report: Report = {
        "dataset": config.data.dataset,
        "split": split,
        "examples": min(limit or size, size),
        "primary": next(iter(full["metrics"])),
        "metrics": {"full": full["metrics"]},
        "macs": {"full": full["macs"]},
    }
    if offset is not None:
        trimmed = evaluator.trimmed(evaluator.batches(split, limit=limit), offset, listener)
        report["metrics"]["trimmed"] = trimmed["metrics"]
        report["macs"]["trimmed"] = trimmed["macs"]
        report["speedup"] = {"asked": speedup, "macs": 1.0 / trimmed["macs_ratio"]}
        report["offset"] = offset
        report["kept"] = trimmed["kept"]
    return report | evaluator.remarks
