"""Training objectives: task losses, distillation, retrieval losses, and their weighted sum."""

from smarttrim_jax.objectives.language import sequence_loss
from smarttrim_jax.objectives.losses import distillation_loss, soft_task_loss, task_loss
from smarttrim_jax.objectives.retrieval import RetrievalConfig, itc_loss, itm_loss
from smarttrim_jax.objectives.total import ObjectiveConfig, total_loss, weighted_mean, weighted_terms

__all__ = [
    "ObjectiveConfig",
    "RetrievalConfig",
    "distillation_loss",
    "itc_loss",
    "itm_loss",
    "sequence_loss",
    "soft_task_loss",
    "task_loss",
    "total_loss",
    "weighted_mean",
    "weighted_terms",
]
