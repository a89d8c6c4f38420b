"""A trained model without its training data: opened, asked, explained, saved and exported."""

from smarttrim_jax.serving.predictor import Answer
from smarttrim_jax.serving.trained_model import TrainedModel, load_model

__all__ = ["Answer", "TrainedModel", "load_model"]
