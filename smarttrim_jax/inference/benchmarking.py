"""What `python -m smarttrim_jax.benchmark` measures: forced gates on an untrained model, or a finished run."""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.inference.executor import Batch, PackedExecutor
from smarttrim_jax.inference.speed import Row, compare
from smarttrim_jax.models.forced import ForcedFunctional
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.training.finished import FinishedRun
from smarttrim_jax.training.forward import inputs
from smarttrim_jax.trimming.forced import draw_keep
from smarttrim_jax.trimming.gates import Trim

EXAMPLES = 32
"""Of a trained model's data, at least, that every execution is timed on."""


def measure_forced(
    config: ExperimentConfig,
    batch_sizes: Sequence[int],
    keeps: Sequence[float],
    repeats: int,
) -> list[Row]:
    """An untrained model, random images and texts of full length, token gates drawn for every example.

    Args:
        config: its model is measured, with texts of its data's length.
        batch_sizes: examples at a time.
        keeps: mean shares of tokens that layers keep, from the first layer on that trims; a standard deviation of a
            quarter of it between examples.
        repeats: timed calls.

    Raises:
        ConfigError: a model without trimmers.
    """
    sizes, trimming = config.model, config.model.trimming
    if trimming is None:
        raise ConfigError("the config's model has no trimmers (model.trimming is None)")
    plain = Functional(sizes)
    params = jax.jit(plain.init)(jax.random.key(config.seed))
    rows: list[Row] = []
    for batch_size in batch_sizes:
        random = np.random.default_rng(config.seed)
        side, length = sizes.vision.image_size, config.data.text_length
        batch: Batch = (
            jnp.asarray(random.normal(size=(batch_size, sizes.images, side, side, 3)), jnp.float32),
            jnp.asarray(random.integers(3, sizes.text.vocab_size, (batch_size, length))),
            jnp.ones((batch_size, length), jnp.int32),
        )
        for keep in keeps:
            tables = {
                "image": draw_keep(random, batch_size * sizes.images, 1 + sizes.vision.patches, keep),
                "text": draw_keep(random, batch_size, length, keep),
            }
            text_copies = sizes.images if sizes.share_text else 1
            tables |= {"fusion_image": tables["image"], "fusion_text": np.repeat(tables["text"], text_copies, axis=0)}
            model = ForcedFunctional(sizes, tokens={name: jnp.asarray(table) for name, table in tables.items()})
            executor = PackedExecutor(model, params, config.execution)
            executor.calibrate([batch], trim=Trim())
            rows += [
                {"keep": keep, **row} for row in compare(model, params, executor, [batch], Trim(), repeats=repeats)
            ]
    return rows


def measure_run(
    run: FinishedRun,
    batch_sizes: Sequence[int],
    speedups: Sequence[float],
    repeats: int,
) -> list[Row]:
    """A trained model on the first examples of its evaluation split, at speed-ups of its dial.

    The executor is calibrated on held-out training examples. Small batches are many, `EXAMPLES` together.

    Raises:
        ConfigError: a run that never trimmed, or a speed-up beyond its dial.
    """
    rows: list[Row] = []
    for speedup in speedups or [run.config.cost.target_speedup]:
        trim = run.trim(speedup)
        if trim is None:
            raise ConfigError("this run never trimmed; there is nothing to compare")
        executor = PackedExecutor(run.model, run.params, run.config.execution)
        executor.calibrate(_batches(run, "calibration"), trim=trim)
        for batch_size in batch_sizes:
            batches = list(_batches(run, run.config.evaluation.split, batch_size, max(batch_size, EXAMPLES)))
            measured = compare(run.model, run.params, executor, batches, trim, repeats=repeats)
            rows += [{"asked": speedup, **row} for row in measured]
    return rows


def _batches(
    run: FinishedRun, split: str, batch_size: int | None = None, limit: int | None = None
) -> Iterator[Batch]:
    for batch in run.batches(split, batch_size=batch_size, limit=limit):
        yield inputs(run.config, batch)
