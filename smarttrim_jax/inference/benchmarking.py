"""What `python -m smarttrim_jax.benchmark` measures: forced gates on an untrained model, or a finished run."""

from collections.abc import Iterator, Sequence

import jax

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.inference.against_torch import TorchForward, check_equal
from smarttrim_jax.inference.executor import Batch, PackedExecutor
from smarttrim_jax.inference.forced_load import forced_load
from smarttrim_jax.inference.speed import Row, compare
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.training.finished import FinishedRun
from smarttrim_jax.training.forward import inputs

EXAMPLES = 32
"""Of a trained model's data, at least, that every execution is timed on."""


def measure_forced(
    config: ExperimentConfig,
    batch_sizes: Sequence[int],
    keeps: Sequence[float],
    repeats: int,
    *,
    against_torch: bool = False,
) -> Iterator[Row]:
    """An untrained model, random images and texts of full length; every example draws the share of tokens it keeps.

    Args:
        config: its model is measured, with texts of its data's length.
        batch_sizes: examples at a time.
        keeps: mean shares of tokens that layers keep, from the first layer on that trims.
        repeats: timed calls.
        against_torch: measure transformers' model with the same weights too.

    Yields:
        Rows of `compare`, as soon as they are measured.

    Raises:
        ConfigError: a model without trimmers, or one that transformers does not have.
    """
    sizes = config.model
    params = jax.jit(Functional(sizes).init)(jax.random.key(config.seed))
    torch = TorchForward(sizes, params) if against_torch else None
    for batch_size in batch_sizes:
        load = forced_load(sizes, params, config.data.text_length, batch_size, config.seed)
        if torch is not None:
            check_equal(Functional(sizes), params, torch, load.batch)
        for keep in keeps:
            trim = load.trim(keep)
            executor = PackedExecutor(load.model, params, config.execution)
            executor.calibrate([load.batch], trim=trim)
            for row in compare(load.model, params, executor, [load.batch], trim, repeats=repeats, torch=torch):
                yield {"keep": keep, **row}


def measure_run(
    run: FinishedRun,
    batch_sizes: Sequence[int],
    speedups: Sequence[float],
    repeats: int,
) -> Iterator[Row]:
    """A trained model on the first examples of its evaluation split, at speed-ups of its dial.

    The executor is calibrated on held-out training examples. Small batches are many, `EXAMPLES` together.

    Yields:
        Rows of `compare`, as soon as they are measured.

    Raises:
        ConfigError: a run that never trimmed, or a speed-up beyond its dial.
    """
    for speedup in speedups or [run.config.cost.target_speedup]:
        trim = run.trim(speedup)
        if trim is None:
            raise ConfigError("this run never trimmed; there is nothing to compare")
        executor = PackedExecutor(run.model, run.params, run.config.execution)
        executor.calibrate(_batches(run, "calibration"), trim=trim)
        for batch_size in batch_sizes:
            batches = list(_batches(run, run.config.evaluation.split, batch_size, max(batch_size, EXAMPLES)))
            measured = compare(run.model, run.params, executor, batches, trim, repeats=repeats)
            yield from ({"asked": speedup, **row} for row in measured)


def _batches(
    run: FinishedRun, split: str, batch_size: int | None = None, limit: int | None = None
) -> Iterator[Batch]:
    for batch in run.batches(split, batch_size=batch_size, limit=limit):
        yield inputs(run.config, batch)
