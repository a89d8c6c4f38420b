"""The training loss: its terms, their weights and their sum."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.configuration import Settings
from smarttrim_jax.objectives.losses import LossKind
from smarttrim_jax.ranges import NonNegativeFloat, PositiveFloat


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig(Settings):
    """Weights of the loss `task(trimmed) + full * task(full) + distillation * distill(full -> trimmed) + cost`.

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
    """Computes the weighted mean over the examples; fillers have weight 0.

    Args:
        per_example: A number for each example, `[batch]`.
        weights: Weight of each example, `[batch]`.

    Returns:
        The mean, a scalar. The sum of the weights is taken as at least 1, so it is 0 for fillers alone.
    """
    return jnp.sum(per_example * weights) / jnp.maximum(jnp.sum(weights), 1.0)


def weighted_terms(
    config: ObjectiveConfig,
    *,
    full: Float[Array, ""] | None = None,
    trimmed: Float[Array, ""] | None = None,
    distance: Float[Array, ""] | None = None,
) -> dict[str, Float[Array, ""]]:
    """Multiplies the terms of the loss by their weights.

    Args:
        config: The weights.
        full: The task's loss at full capacity, a scalar; None if that pass was not run. Without a trimmed pass it has
            weight 1.
        trimmed: The task's loss of the trimmed pass, a scalar; None if that pass was not run.
        distance: Distance of the trimmed pass from the full one, a scalar; None if it was not computed.

    Returns:
        The weighted terms by name ("task_full", "task_trimmed", "distillation"); their sum plus the cost is the loss.
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
    """Sums the terms of the loss.

    Args:
        terms: Weighted terms by name, scalars; at least one.

    Returns:
        The loss, a scalar.
    """
    return jnp.sum(jnp.stack(list(terms.values())))
