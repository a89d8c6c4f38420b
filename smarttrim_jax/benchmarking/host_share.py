"""What a call costs besides computing, measured where arithmetic takes little: a model's depths at a small width."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from smarttrim_jax.benchmarking.forced_load import forced_load
from smarttrim_jax.benchmarking.measurement import time_by_turns
from smarttrim_jax.benchmarking.speed import Row
from smarttrim_jax.execution.base import Batch, Executor
from smarttrim_jax.execution.executor import PackedExecutor
from smarttrim_jax.execution.one_program_executor import OneProgramExecutor
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.config import ModelConfig
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.trimming.gates import Trim

NARROW = {"width": 64, "mlp_width": 64, "heads": 4, "vocab_size": 128}
"""Sizes in the place of a model's own; a layer is then bound by what starts it."""
PATCHES = 6
"""Patches along a side of the images."""
TEXT_LENGTH = 12
"""Tokens of every text."""
KEEP = 0.3
"""Mean share of the tokens that packed calls keep."""
IN_A_ROW = 10
"""Calls of one execution before another one's turn comes."""


def measure_host(config: ExperimentConfig, batch_sizes: Sequence[int], repeats: int) -> Iterator[Row]:
    """Times full and packed calls of a narrow model, by one program and led by the host.

    Args:
        config: Run configuration; the depths of its model are measured.
        batch_sizes: Batch sizes to measure.
        repeats: Number of timed calls of each execution.

    Yields:
        Rows with `batch_size`, `execution`, `host_ms` (median milliseconds a call), `over_full` (the same over those
        of one program at full capacity) and `compile_seconds`.

    Raises:
        ConfigError: The model has no trimmers.
    """
    model = narrowed(config.model)
    params = jax.jit(Functional(model).init)(config.random_key)
    for batch_size in batch_sizes:
        load = forced_load(model, params, TEXT_LENGTH, batch_size, config.seed)
        trim = load.trim(KEEP)
        executors: dict[str, OneProgramExecutor | PackedExecutor] = {
            "one_program": OneProgramExecutor(load.model, load.params, config.execution),
            "host_led": PackedExecutor(load.model, load.params, config.execution),
        }
        for executor in executors.values():
            executor.calibrate([load.batch], trim=trim)
        calls: dict[str, Callable[[], Any]] = {
            f"{name}_{kind}": functools.partial(_in_a_row, executor, load.batch, given)
            for name, executor in executors.items()
            for kind, given in {"full": None, "packed": trim}.items()
        }
        timings = time_by_turns(calls, repeats)
        full = timings["one_program_full"].median
        for name, timing in timings.items():
            yield {
                "batch_size": batch_size,
                "execution": name,
                "host_ms": 1e3 * timing.median / IN_A_ROW,
                "over_full": timing.median / full,
                "compile_seconds": timing.first - timing.median,
            }


def narrowed(config: ModelConfig) -> ModelConfig:
    """Makes a model narrow and its images small, and leaves its depths as they are.

    Args:
        config: Model configuration.

    Returns:
        The configuration with the sizes of `NARROW` in all of its parts, for images of `PATCHES` x `PATCHES` patches.
    """
    narrow: ModelConfig = _narrow(config, NARROW | {"image_size": PATCHES * config.patch_size})
    return narrow


def _narrow(part: Any, narrow: Mapping[str, int]) -> Any:
    sizes: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.name in narrow and isinstance(value, int):
            sizes[field.name] = narrow[field.name]
        elif dataclasses.is_dataclass(value) and field.name != "trimming":
            sizes[field.name] = _narrow(value, narrow)
    return dataclasses.replace(part, **sizes)


def _in_a_row(executor: Executor, batch: Batch, trim: Trim | None) -> list[Any]:
    """Several calls one after the other, each read before the next, as a server that is busy makes them."""
    return [jax.block_until_ready(executor(*batch, trim=trim).result) for _ in range(IN_A_ROW)]
