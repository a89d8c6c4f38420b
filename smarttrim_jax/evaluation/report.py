"""The final report of a run, and the measurement of its speed dial."""

import itertools
from collections.abc import Sequence

from smarttrim_jax.evaluation.evaluator import Evaluator, Listener, Report
from smarttrim_jax.tasks.base import Batch
from smarttrim_jax.trimming.calibration import SpeedDial, calibrate

ROUGHLY = 8
"""One in so many calibration batches is used to search offsets roughly; all batches then refine the result."""


def measure_dial(evaluator: Evaluator) -> SpeedDial:
    """Calibrates the speed dial on held-out training examples; no test example is used.

    Args:
        evaluator: Evaluator of a trained model and its data.

    Returns:
        The measured dial. For a policy without a dial it has a single point: the MAC ratio that the policy has.

    Raises:
        DataError: The data has no calibration split.
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
    """Calibrates on some batches, guided by a rougher dial `near` if there is one; shows how far it is."""
    passes = itertools.count(1)
    # Passes for the ends of the dial, and some for each speed-up: fewer where a rougher dial says where to look.
    about = 3 + 3 * len(speedups) if near is None else 2 + 2 * len(speedups)

    named = f"{len(speedups)} speed-up{'s' if len(speedups) > 1 else ''}"

    def ratio(offset: float) -> float:
        """Measures the MAC ratio at an offset, under a progress line that counts the passes.

        Args:
            offset: Logit offset.

        Returns:
            Mean trimmed MACs over mean full MACs.
        """
        what = f"calibrating {named}, pass {next(passes)} of about {about}"
        return evaluator.macs_ratio(batches, offset, what)

    return calibrate(ratio, speedups, near=near)


def build_report(
    evaluator: Evaluator, dial: SpeedDial | None, split: str, speedup: float, listener: Listener | None = None
) -> Report:
    """Evaluates a split at full capacity and, if there is a dial, trimmed, and assembles the report.

    Args:
        evaluator: Evaluator of a trained model and its data.
        dial: The model's speed dial; None if it was never trimmed.
        split: Name of a split of the data.
        speedup: Full MACs over trimmed MACs that the trimmed evaluation aims at; ignored without a dial.
        listener: Receives every example of the trimmed evaluation, or of the full one where there is no dial.

    Returns:
        `dataset`, `split`, number of `examples`, name of the `primary` metric, `metrics` and `macs` of both passes by
        name (`full`, `trimmed`), `chance` (see `Metric`), and, where trimmed, `speedup` (asked and realised in MACs),
        `offset` and `kept`, the shares that each layer keeps; the evaluator's remarks.

    Raises:
        ConfigError: The speed-up is beyond the dial, or a metric fails.
        DataError: There is no such split.
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
        "chance": full["chance"],
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
