"""The training loss: its terms, their weights, their sum."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.configuration import Settings
from smarttrim_jax.objectives.losses import LossKind
from smarttrim_jax.ranges import NonNegativeFloat, PositiveFloat


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig(Settings):
    """What the loss is made of: `task(trimmed) + full * task(full) + distillation * distill(full -> trimmed) + cost`.

    The cost has its own weight and target in `trimming.cost.CostConfig`.

    Attributes:
        loss: Loss of tasks with classes, "softmax" or "sigmoid".
        full: Weight of the task loss at full capacity.
        distillation: Weight of self-distillation.
        temperature: Temperature of the distillation.
    """

    loss: LossKind = "softmax"
    full: NonNegativeFloat = 1.0
    distillation: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 2.0


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
