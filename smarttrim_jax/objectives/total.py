"""The training loss: its terms, their weights, their sum."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.objectives.distillation import distillation_loss
from smarttrim_jax.objectives.task import LossKind, task_loss


@dataclasses.dataclass(frozen=True)
class ObjectiveConfig:
    """What the loss is made of: `task(trimmed) + full * task(full) + distillation * distill(full -> trimmed) + cost`.

    The cost has its own weight and target in `trimming.cost.CostConfig`.

    Attributes:
        loss: of the task, "softmax" or "sigmoid".
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


def task_terms(
    config: ObjectiveConfig,
    labels: Int[Array, " batch"],
    weights: Float[Array, " batch"],
    full: Float[Array, "batch answers"] | None = None,
    trimmed: Float[Array, "batch answers"] | None = None,
) -> dict[str, Float[Array, ""]]:
    """The weighted terms that a batch's logits give, by name; their sum, with the cost, is the loss.

    Args:
        config: the weights.
        labels: the right answers.
        weights: of the examples; 0 for fillers.
        full: logits at full capacity, if that pass was run.
        trimmed: logits of the trimmed pass, if that pass was run.
    """

    def mean(per_example: Float[Array, " batch"]) -> Float[Array, ""]:
        return jnp.sum(per_example * weights) / jnp.maximum(jnp.sum(weights), 1.0)

    terms = {}
    if full is not None:
        weight = 1.0 if trimmed is None else config.full
        terms["task_full"] = weight * mean(task_loss(config.loss, full, labels))
    if trimmed is not None:
        terms["task_trimmed"] = mean(task_loss(config.loss, trimmed, labels))
    if full is not None and trimmed is not None:
        distance = distillation_loss(config.loss, full, trimmed, config.temperature)
        terms["distillation"] = config.distillation * mean(distance)
    return terms


def total_loss(terms: dict[str, Float[Array, ""]]) -> Float[Array, ""]:
    """The sum of all terms."""
    return jnp.sum(jnp.stack(list(terms.values())))
