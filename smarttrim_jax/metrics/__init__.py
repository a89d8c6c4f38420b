"""Metrics: small objects that update and compute over named values of examples, texts included."""

from smarttrim_jax.metrics.base import Mean, Metric, NamedValues
from smarttrim_jax.metrics.scores import METRICS, Scores

__all__ = ["METRICS", "Mean", "Metric", "NamedValues", "Scores"]
