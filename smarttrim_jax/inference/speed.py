"""Full, padded and packed execution of one batch, timed in one run."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from smarttrim_jax.inference.executor import Batch, PackedExecutor
from smarttrim_jax.inference.measurement import matmul, time_by_turns
from smarttrim_jax.inference.waste import computed_macs
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.trimming.gates import Trim

Row = dict[str, Any]


def compare(
    model: Functional,
    params: Params,
    executor: PackedExecutor,
    batch: Batch,
    trim: Trim,
    *,
    repeats: int,
) -> list[Row]:
    """A row for each execution of one batch: full (no trimmers run), padded (trimmed tokens masked) and packed.

    Full runs layer by layer like packed, which is faster than one program of all layers: that would copy each layer's
    weights out of the stack.

    Args:
        model: whose parameters these are.
        params: of the model.
        executor: of the same model and parameters.
        batch: images, ids and mask.
        trim: how the trimmers decide.
        repeats: timed calls of each.

    Returns:
        Rows with `execution`, `seconds` (median), `spread` (quartiles over the median), `compile_seconds`, `macs`
        (mean and percentiles of the examples' realised gates), `macs_ratio` (full over trimmed), `speedup` (against
        the faster of full and padded) and `realised` (speedup over macs_ratio). Full has `of_peak`, its share of the
        rate at which this machine multiplies large matrices; packed has `macs_computed` per example, `padding_waste`
        (their share that no open token needed) and `programs` (of layers, compiled so far).
    """
    forward = jax.jit(model.apply)
    product, product_macs = matmul(model.config.dtype)
    executions: dict[str, Callable[[], Any]] = {
        "full": lambda: executor(*batch).logits,
        "padded": lambda: forward(params, *batch, trim=trim).logits,
        "packed": lambda: executor(*batch, trim=trim).logits,
    }
    timings = time_by_turns({"product": product, **executions}, repeats)
    record = forward(params, *batch, trim=trim).record
    macs = {
        "full": np.asarray(model.macs(record.opened(), trimmed=False)),
        "trimmed": np.asarray(model.macs(record)),
    }
    ratio = float(macs["full"].mean() / macs["trimmed"].mean())
    baseline = min(timings["full"].median, timings["padded"].median)
    rows = []
    for name in executions:
        own, timing = macs["full" if name == "full" else "trimmed"], timings[name]
        row: Row = {
            "batch_size": len(own),
            "execution": name,
            "seconds": timing.median,
            "spread": timing.spread,
            "compile_seconds": timing.first - timing.median,
            "macs": {"mean": float(own.mean()), **{f"p{q}": float(np.percentile(own, q)) for q in (50, 90)}},
            "macs_ratio": 1.0 if name == "full" else ratio,
            "speedup": baseline / timing.median,
        }
        row["realised"] = row["speedup"] / row["macs_ratio"]
        if name == "full":
            row["of_peak"] = float(own.sum()) / timing.median / (product_macs / timings["product"].median)
        if name == "packed":
            lines = executor.lines(batch, trim)
            row["macs_computed"] = computed_macs(model, record, lines) / len(own)
            row["padding_waste"] = 1.0 - computed_macs(model, record) / computed_macs(model, record, lines)
            row["programs"] = executor.compiled
        rows.append(row)
    return rows
