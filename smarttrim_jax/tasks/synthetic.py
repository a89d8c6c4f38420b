"""Task and batches of a run without its data, to compile or time its programs."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from smarttrim_jax.data.language import numbered_language
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.tasks import Task, make_task


def abstract_batch(
    config: ExperimentConfig, size: int, sharding: NamedSharding | None = None
) -> dict[str, jax.ShapeDtypeStruct]:
    """Describes the arrays of a training batch without allocating them.

    The batch is one of `data.pipeline.train_iterator` for a data set with a single answer per example.

    Args:
        config: Run configuration; gives the number of images, their size and the text length.
        size: Number of examples of the batch.
        sharding: Sharding of every array; None for the default.

    Returns:
        Shape and dtype by name: `image` uint8 `[size, images, side, side, 3]`, `text_ids` and `text_mask` int32
        `[size, tokens]`, `label` and `index` int32 `[size]`, `weight` float32 `[size]`.
    """
    images, side, length = config.model.images, config.data.image_size, config.data.text_length
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "image": ((size, images, side, side, 3), jnp.uint8),
        "text_ids": ((size, length), jnp.int32),
        "text_mask": ((size, length), jnp.int32),
        "label": ((size,), jnp.int32),
        "weight": ((size,), jnp.float32),
        "index": ((size,), jnp.int32),
    }
    return {name: jax.ShapeDtypeStruct(*shape, sharding=sharding) for name, shape in shapes.items()}


def synthetic_task(config: ExperimentConfig) -> Task:
    """Creates the task of a run with a synthetic vocabulary and synthetic answers.

    Args:
        config: Run configuration whose sizes are all given.

    Returns:
        The task, with numbers as its words and as the names of its answers.

    Raises:
        ConfigError: The vocabulary size or the number of outputs is 0, which leaves it to the data.
    """
    outputs = config.model.outputs(config.task)
    answers = 2 if outputs is None else outputs
    for name, size in {"model.text.vocab_size": config.model.vocab_size, "the head's outputs": answers}.items():
        if size == 0:
            raise ConfigError(f"{name} is 0, which leaves it to the data; no data is read here, so give a number")
    language = numbered_language(config.model.vocab_size, answers, config.data.text_length, config.data.start)
    return make_task(config, language)
