"""Measurements of `python -m smarttrim_jax.benchmark`: forced gates on random images, or a trained model's gates."""

import typing
from collections.abc import Iterator, Mapping, Sequence

import jax

from smarttrim_jax.benchmarking.against_torch import TorchForward, check_equal
from smarttrim_jax.benchmarking.forced_load import forced_load
from smarttrim_jax.benchmarking.speed import Row, compare
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.execution.base import Batch, Execution
from smarttrim_jax.execution.config import ExecutionConfig
from smarttrim_jax.execution.executor import PackedExecutor
from smarttrim_jax.execution.one_program_executor import OneProgramExecutor
from smarttrim_jax.execution.timings import Timing
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.trimming.gates import Trim

EXAMPLES = 32
"""Minimum number of examples of a trained model's data that every execution is timed on."""

CALIBRATION_BATCH = 128
"""Number of examples per batch on which the executor is calibrated."""


def measure_forced(
    config: ExperimentConfig,
    batch_sizes: Sequence[int],
    keeps: Sequence[float],
    repeats: int,
    *,
    keep_heads: float | None = None,
    params: Params | None = None,
    against_torch: bool = False,
) -> Iterator[Row]:
    """Measures a model with forced gates on random images and texts of full length; every example draws its share.

    Args:
        config: Run configuration; its model is measured, with the text length of its data.
        batch_sizes: Batch sizes to measure.
        keeps: Mean shares of tokens to keep, from the first layer that trims.
        repeats: Number of timed calls.
        keep_heads: Share of each attention module's heads that stay open, the same for all examples; None for all.
        params: The model's parameters; None for random ones.
        against_torch: Whether to measure transformers' model with the same weights too.

    Yields:
        Rows of `compare` with the share `keep`, and `keep_heads` where it is given, as soon as they are measured.

    Raises:
        ConfigError: The model has no trimmers, or transformers does not have it.
    """
    sizes = config.model
    if params is None:
        params = jax.jit(Functional(sizes).init)(config.random_key)
    torch = TorchForward(sizes, params) if against_torch else None
    for batch_size in batch_sizes:
        load = forced_load(
            sizes, params, config.data.text_length, batch_size, config.seed, keep_heads=keep_heads or 1.0
        )
        if torch is not None:
            check_equal(Functional(sizes), params, torch, load.batch)
        for keep in keeps:
            trim = load.trim(keep)
            packed = PackedExecutor(load.model, load.params, config.execution)
            one_program = OneProgramExecutor(load.model, load.params, config.execution)
            for executor in (packed, one_program):
                executor.calibrate([load.batch], trim=trim)
            measured = compare(
                load.model, load.params, packed, one_program, [load.batch], trim, repeats=repeats, torch=torch
            )
            shares = {"keep": keep} if keep_heads is None else {"keep": keep, "keep_heads": keep_heads}
            yield from (shares | row for row in measured)


def measure_trained(
    model: Functional,
    params: Params,
    execution: ExecutionConfig,
    trims: Mapping[float, Trim],
    examples: Batch,
    calibration: Batch,
    batch_sizes: Sequence[int],
    repeats: int,
) -> Iterator[Row]:
    """Measures a trained model on real examples at speed-ups of its dial.

    Small batch sizes are measured on several batches, of `EXAMPLES` examples together.

    Args:
        model: Model to measure.
        params: The model's parameters.
        execution: Settings of packed execution.
        trims: How the trimmers decide at each asked speed-up.
        examples: Normalised images, ids and mask of the examples to time.
        calibration: Normalised images, ids and mask of the examples that the executor is calibrated on.
        batch_sizes: Batch sizes to measure.
        repeats: Number of timed calls.

    Yields:
        Rows of `compare` with the speed-up that was `asked`, as soon as they are measured.

    Raises:
        ConfigError: A batch size exceeds the number of examples.
    """
    count = len(examples[1])
    for batch_size in batch_sizes:
        if batch_size > count:
            raise ConfigError(f"--batch_sizes asks for {batch_size} examples at a time, but there are {count}")
    for speedup, trim in trims.items():
        packed = PackedExecutor(model, params, execution)
        one_program = OneProgramExecutor(model, params, execution)
        for executor in (packed, one_program):
            executor.calibrate(_cut(calibration, min(CALIBRATION_BATCH, len(calibration[1]))), trim=trim)
        for batch_size in batch_sizes:
            batches = _cut(examples, batch_size)[: max(EXAMPLES // batch_size, 1)]
            measured = compare(model, params, packed, one_program, batches, trim, repeats=repeats)
            yield from ({"asked": speedup, **row} for row in measured)


def timings_of(rows: Sequence[Row], asked: float) -> list[Timing]:
    """Takes what `AutoExecutor` chooses by from the figures of a trained model on this device.

    Args:
        rows: Rows of `measure_trained`.
        asked: The speed-up whose times count.

    Returns:
        The times of the trimmed executions.
    """
    device = jax.devices()[0].device_kind
    return [
        Timing(device, row["batch_size"], row["execution"], row["seconds"])
        for row in rows
        if row["asked"] == asked and row["execution"] in typing.get_args(Execution)
    ]


def _cut(examples: Batch, size: int) -> list[Batch]:
    """Divides examples into batches of one size; the remainder is dropped, since fillers would distort the timing."""
    starts = range(0, len(examples[1]) - size + 1, size)
    return [tuple(part[start : start + size] for part in examples) for start in starts]
