"""Writers of the metrics that a run logs: its folder, TensorBoard, Weights & Biases, or a user's own."""

from smarttrim_jax.training.writers.base import Writer
from smarttrim_jax.training.writers.opened import WRITERS, Writers, check_writers

__all__ = ["WRITERS", "Writer", "Writers", "check_writers"]
