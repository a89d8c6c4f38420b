"""A run's task and batches where its data is not: to compile or time its programs."""

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
    """The shapes of a batch of `data.pipeline.train_iterator` with single answers, split as given."""
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


def task_without_data(config: ExperimentConfig) -> Task:
    """The task of a run whose sizes are all given.

    Raises:
        ConfigError: a size is left to the data.
    """
    outputs = config.model.outputs(config.task)
    answers = 2 if outputs is None else outputs
    for name, size in {"model.text.vocab_size": config.model.vocab_size, "the head's outputs": answers}.items():
        if size == 0:
            raise ConfigError(f"{name} is 0, which leaves it to the data; no data is read here, so give a number")
    language = numbered_language(config.model.vocab_size, answers, config.data.text_length, config.data.start)
    return make_task(config, language)
