"""The training loss: its terms, their weights, their sum."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.objectives.task import LossKind


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
    """What the loss is made of: `task(trimmed) + full * task(full) + distillation * distill(full -> trimmed) + cost`.

    The cost has its own weight and target in `trimming.cost.CostConfig`.

    Attributes:
        loss: of tasks with classes, "softmax" or "sigmoid".
        full: weight of the task loss at full capacity.
        distillation: weight of self-distillation.
        temperature: of the distillation.
    """

    loss: LossKind = "softmax"
    full: float = 1.0
    distillation: float = 1.0
    temperature: float = 2.0

    def __post_init__(self) -> None:
        if self.full < 0 or self.distillation < 0 or self.temperature <= 0:
            raise ConfigError("objective weights must not be negative, and its temperature must be positive")


def weighted_mean(per_example: Float[Array, " batch"], weights: Float[Array, " batch"]) -> Float[Array, ""]:
    """The mean over the examples; those of weight 0 are fillers."""
    return jnp.sum(per_example * weights) / jnp.maximum(jnp.sum(weights), 1.0)


def weighted_terms(
    config: ObjectiveConfig,
    *,
    full: Float[Array, ""] | None = None,
    trimmed: Float[Array, ""] | None = None,
    distance: Float[Array, ""] | None = None,
) -> dict[str, Float[Array, ""]]:
    """The terms by name, each with its weight; their sum, with the cost, is the loss.

    Args:
        config: the weights.
        full: the task's loss at full capacity, if that pass was run; it weighs 1 where it stands alone.
        trimmed: the task's loss of the trimmed pass, if that was run.
        distance: of the trimmed pass from the full one.
    """
    terms = {}
    if full is not None:
        terms["task_full"] = (1.0 if trimmed is None else config.full) * full
    if trimmed is not None:
        terms["task_trimmed"] = trimmed
    if distance is not None:
        terms["distillation"] = config.distillation * distance
    return terms


def total_loss(terms: dict[str, Float[Array, ""]]) -> Float[Array, ""]:
    """The sum of all terms."""
    return jnp.sum(jnp.stack(list(terms.values())))
