"""What `python -m smarttrim_jax.benchmark` measures: forced gates on random images, or a trained model's own."""

from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.inference.against_torch import TorchForward, check_equal
from smarttrim_jax.inference.executor import Batch, PackedExecutor
from smarttrim_jax.inference.speed import Row, compare
from smarttrim_jax.models.execution import ExecutionConfig
from smarttrim_jax.models.forced import ForcedFunctional
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.trimming.forced import offset_that_keeps
from smarttrim_jax.trimming.gates import Trim

EXAMPLES = 32
"""Of a trained model's data, at least, that every execution is timed on."""

CALIBRATION_BATCH = 128
"""Examples at a time that the executor is calibrated on."""

SPREAD = 0.25
"""Standard deviation of the share that forced examples keep, relative to its mean."""


def measure_forced(
    config: ExperimentConfig,
    batch_sizes: Sequence[int],
    keeps: Sequence[float],
    repeats: int,
    *,
    params: Params | None = None,
    against_torch: bool = False,
) -> Iterator[Row]:
    """Forced gates, random images and texts of full length; every example draws the share of tokens it keeps.

    Args:
        config: its model is measured, with texts of its data's length.
        batch_sizes: examples at a time.
        keeps: mean shares of tokens that layers keep, from the first layer on that trims.
        repeats: timed calls.
        params: Parameters of the model; by default fresh ones.
        against_torch: measure transformers' model with the same weights too.

    Yields:
        Rows of `compare`, as soon as they are measured.

    Raises:
        ConfigError: a model without trimmers, or one that transformers does not have.
    """
    sizes, trimming = config.model, config.model.trimming
    if trimming is None:
        raise ConfigError("the config's model has no trimmers (model.trimming is None)")
    if params is None:
        params = jax.jit(Functional(sizes).init)(jax.random.key(config.seed))
    torch = TorchForward(sizes, params) if against_torch else None
    for batch_size in batch_sizes:
        random = np.random.default_rng(config.seed)
        side, length = sizes.vision.image_size, config.data.text_length
        batch: Batch = (
            jnp.asarray(random.normal(size=(batch_size, sizes.images, side, side, 3)), jnp.float32),
            jnp.asarray(random.integers(3, sizes.text.vocab_size, (batch_size, length))),
            jnp.ones((batch_size, length), jnp.int32),
        )
        if torch is not None:
            check_equal(Functional(sizes), params, torch, batch)
        model = _forced(Functional(sizes), params, batch, random)
        for keep in keeps:
            shares = np.clip(random.normal(keep, SPREAD * keep * (keep < 1), batch_size), 0.0, 1.0)
            trim = Trim(offset=offset_that_keeps(jnp.asarray(shares, jnp.float32)))
            executor = PackedExecutor(model, params, config.execution)
            executor.calibrate([batch], trim=trim)
            for row in compare(model, params, executor, [batch], trim, repeats=repeats, torch=torch):
                yield {"keep": keep, **row}


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
    """A trained model on real examples, at speed-ups of its dial; small batches are many, `EXAMPLES` together.

    Args:
        model: The model.
        params: Its parameters.
        execution: How kept tokens are packed.
        trims: How its trimmers decide at each asked speed-up.
        examples: Normalised images, ids and mask of the examples to time.
        calibration: The same of those that the executor is calibrated on.
        batch_sizes: Examples at a time.
        repeats: Timed calls.

    Yields:
        Rows of `compare` with the speed-up that was `asked`, as soon as they are measured.

    Raises:
        ConfigError: A batch size above the number of examples.
    """
    count = len(examples[1])
    for batch_size in batch_sizes:
        if batch_size > count:
            raise ConfigError(f"--batch_sizes asks for {batch_size} examples at a time, but there are {count}")
    for speedup, trim in trims.items():
        executor = PackedExecutor(model, params, execution)
        executor.calibrate(_cut(calibration, min(CALIBRATION_BATCH, len(calibration[1]))), trim=trim)
        for batch_size in batch_sizes:
            batches = _cut(examples, batch_size)[: max(EXAMPLES // batch_size, 1)]
            measured = compare(model, params, executor, batches, trim, repeats=repeats)
            yield from ({"asked": speedup, **row} for row in measured)


def _forced(model: Functional, params: Params, batch: Batch, random: np.random.Generator) -> ForcedFunctional:
    """A model that keeps what its dial's offset says, in a random order of the tokens, and all heads."""
    record = jax.eval_shape(lambda *args: model.apply(*args, trim=Trim()).record, params, *batch)
    order: dict[int, jax.Array] = {}
    for gates in record.gates.values():
        count = gates.tokens.shape[-1]
        if count not in order:
            order[count] = jnp.asarray((random.permutation(count) + 0.5)[None] / count, jnp.float32)
    return ForcedFunctional(
        model.config,
        tokens={name: order[gates.tokens.shape[-1]] for name, gates in record.gates.items()},
        heads={
            name: jnp.ones((1, gates.heads.shape[-1]))
            for name, gates in record.gates.items()
            if gates.heads is not None
        },
    )


def _cut(examples: Batch, size: int) -> list[Batch]:
    """Batches of one size; what is left over is dropped, since fillers are no examples."""
    starts = range(0, len(examples[1]) - size + 1, size)
    return [tuple(part[start : start + size] for part in examples) for start in starts]
