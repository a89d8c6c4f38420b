"""The curriculum: from full capacity to the asked budget, then from sampled gates to those of evaluation."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from smarttrim_jax.configuration import Settings
from smarttrim_jax.ranges import Fraction


@dataclasses.dataclass(frozen=True)
class CurriculumConfig(Settings):
    """When the target moves.

    Attributes:
        fraction: Share of the trim-tuning steps over which the target moves; then it stays.
        anneal: Let the gates' noise fade over the remaining steps, so that the model ends on the decisions that
            evaluation takes.
    """

    fraction: Fraction = 0.5
    anneal: bool = True

    def span(self, total_steps: int) -> float:
        """Steps of so many over which the target moves."""
        return max(self.fraction * total_steps, 1.0)


def target_ratio(
    config: CurriculumConfig, target_speedup: float, step: Int[Array, ""] | int, total_steps: int
) -> Float[Array, ""]:
    """The share of the full MACs aimed at: a cosine from 1 to `1 / target_speedup`.

    Args:
        config: the share of the steps it takes.
        target_speedup: where it ends.
        step: of trim-tuning, from 0.
        total_steps: of trim-tuning.
    """
    progress = jnp.clip(jnp.asarray(step, jnp.float32) / config.span(total_steps), 0.0, 1.0)
    return 1.0 - (1.0 - 1.0 / target_speedup) * 0.5 * (1.0 - jnp.cos(jnp.pi * progress))


def noise_level(config: CurriculumConfig, step: Int[Array, ""] | int, total_steps: int) -> Float[Array, ""]:
    """The scale of the gates' noise: 1 while the target moves, then falling linearly to 0 at the last step.

    Args:
        config: where the target stops moving.
        step: of trim-tuning, from 0.
        total_steps: of trim-tuning.
    """
    if not config.anneal:
        return jnp.ones((), jnp.float32)
    start = config.fraction * total_steps
    left = jnp.clip((jnp.asarray(step, jnp.float32) - start) / jnp.maximum(total_steps - 1 - start, 1.0), 0.0, 1.0)
    return 1.0 - left
