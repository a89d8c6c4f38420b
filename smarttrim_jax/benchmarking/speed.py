"""Full, padded and packed execution of the same batches, timed in one run."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from smarttrim_jax.benchmarking.against_torch import TorchForward
from smarttrim_jax.benchmarking.measurement import matmul, time_by_turns
from smarttrim_jax.execution.base import Batch
from smarttrim_jax.execution.executor import PackedExecutor, PackedLengths
from smarttrim_jax.execution.one_program_executor import OneProgramExecutor
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.trimming.gates import Gates, Trim, TrimRecord

Row = dict[str, Any]


def compare(
    model: Functional,
    params: Params,
    packed: PackedExecutor,
    one_program: OneProgramExecutor,
    batches: Sequence[Batch],
    trim: Trim,
    *,
    repeats: int,
    torch: TorchForward | None = None,
) -> list[Row]:
    """Times each execution: full (no trimmers run), padded, packed, in one program, and PyTorch if given.

    Full capacity runs layer by layer like packed execution.

    Args:
        model: Model to measure.
        params: The model's parameters.
        packed: Packed execution of the same model and parameters, led by the host.
        one_program: The same in one program a batch.
        batches: Batches of one size, each of images, ids and mask; computed one after the other.
        trim: How the trimmers decide.
        repeats: Number of timed passes over the batches by each execution.
        torch: Computes a batch at full capacity with PyTorch; None to leave it out.

    Returns:
        Rows with `execution`, `seconds` (per batch, median), `spread` (interquartile range over the median),
        `compile_seconds`, `macs` (mean and percentiles of the realised gates per example), `macs_ratio` (full over
        trimmed), `speedup` (against the faster of full and padded) and `realised` (speedup over macs_ratio). Full has
        `of_peak`, its share of the rate at which this machine multiplies large matrices. Packed has `macs_computed`
        per example, `padding_waste` (the share of computed MACs that no open token needed) and `programs` (compiled
        so far). Where torch is given, rows have `against_torch`, PyTorch's seconds over theirs, and its own has
        `settings`, those that made it faster.
    """
    forward = jax.jit(model.apply)
    product, product_macs = matmul(model.config.dtype)
    executions: dict[str, Callable[[], Any]] = {
        "full": lambda: [packed(*batch).result for batch in batches],
        "padded": lambda: [forward(params, *batch, trim=trim).result for batch in batches],
        "packed": lambda: [packed(*batch, trim=trim).result for batch in batches],
        "one_program": lambda: [one_program(*batch, trim=trim).result for batch in batches],
    }
    if torch is not None:
        executions["torch"] = lambda: [torch(batch) for batch in batches]
    timings = time_by_turns({"product": product, **executions}, repeats)
    records = [forward(params, *batch, trim=trim).record for batch in batches]
    macs = {
        "full": np.concatenate([model.full_macs(record) for record in records]),
        "trimmed": np.concatenate([model.macs(record) for record in records]),
    }
    ratio = float(macs["full"].mean() / macs["trimmed"].mean())
    baseline = min(timings["full"].median, timings["padded"].median)
    rows = []
    for name in executions:
        is_full, timing = name in ("full", "torch"), timings[name]
        own = macs["full" if is_full else "trimmed"]
        row: Row = {
            "batch_size": len(own) // len(batches),
            "execution": name,
            "seconds": timing.median / len(batches),
            "spread": timing.spread,
            "compile_seconds": timing.first - timing.median,
            "macs": {"mean": float(own.mean()), **{f"p{q}": float(np.percentile(own, q)) for q in (50, 90)}},
            "macs_ratio": 1.0 if is_full else ratio,
            "speedup": baseline / timing.median,
        }
        row["realised"] = row["speedup"] / row["macs_ratio"]
        if torch is not None:
            row["against_torch"] = timings["torch"].median / timing.median
        if torch is not None and name == "torch":
            row["settings"] = ", ".join(torch.settings)
        if name == "full":
            row["of_peak"] = float(own.sum()) / timing.median / (product_macs / timings["product"].median)
        if name == "packed":
            lengths = [packed.packed_lengths(batch, trim) for batch in batches]
            needed = sum(executed_macs(model, record) for record in records)
            computed = sum(map(functools.partial(executed_macs, model), records, lengths))
            row["macs_computed"] = computed / len(own)
            row["padding_waste"] = 1.0 - needed / computed
            row["programs"] = packed.compiled
        rows.append(row)
    return rows


def executed_macs(model: Functional, record: TrimRecord, lengths: PackedLengths | None = None) -> float:
    """Counts the MACs of a batch with every token in memory and all heads.

    Attention products are counted at the lengths that examples would have if they shared the fillers in proportion.

    Args:
        model: Model that ran.
        record: Gates of the batch.
        lengths: Tokens in memory in every layer, see `PackedExecutor.packed_lengths`; None for the open tokens only.

    Returns:
        MACs of the whole batch.
    """
    gates = {}
    for key, gate in record.gates.items():
        open_tokens = jnp.sum(gate.tokens, axis=(1, 2))
        held = open_tokens if lengths is None else [sides[key.side] for run, sides in lengths if run == key.run]
        gates[key] = _weighted(gate, jnp.asarray(held) / open_tokens)
    return float(jnp.sum(model.macs(TrimRecord(gates, record.present))))


def _weighted(gates: Gates, weight: Float[Array, " layers"]) -> Gates:
    """Multiplies the token gates of every layer by its weight, and opens all heads."""
    return Gates(gates.tokens * weight[:, None, None], **jax.tree.map(jnp.ones_like, gates.modules))
