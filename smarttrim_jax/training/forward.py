"""One pass over a batch of the data pipeline, the same for training and evaluation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from smarttrim_jax.data.images import normalize
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.models.output import Output
from smarttrim_jax.training.experiment import ExperimentConfig
from smarttrim_jax.trimming.gates import Trim

Batch = dict[str, jax.Array]


def forward(
    config: ExperimentConfig, params: Params, batch: Batch, *, trim: Trim | None = None, key: jax.Array | None = None
) -> Output:
    """The model on a batch, its images normalised; `trim` and `key` as in `Meter.__call__`."""
    return Functional(config.model).apply(params, *inputs(config, batch), trim=trim, key=key)


def inputs(config: ExperimentConfig, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What `Meter.__call__` takes: normalised images, ids and mask."""
    return normalize(batch["image"], config.pixels), batch["text_ids"], batch["text_mask"]


def correct(config: ExperimentConfig, logits: dict[str, jax.Array], batch: Batch) -> Bool[Array, " batch"]:
    """Whether the trained head's first choice is the label."""
    return jnp.argmax(logits[config.task], axis=-1) == batch["label"]
