"""What a batch of the data pipeline is to a model, the same for training and evaluation."""

import jax

from smarttrim_jax.data.images import normalize
from smarttrim_jax.training.experiment import ExperimentConfig

Batch = dict[str, jax.Array]


def inputs(config: ExperimentConfig, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What a model's call takes: normalised images, ids and mask."""
    return normalize(batch["image"], config.pixels), batch["text_ids"], batch["text_mask"]
