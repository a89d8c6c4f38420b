"""The curriculum: the target moves from full capacity to the budget, then the gates' noise fades."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from smarttrim_jax.configuration import Settings
from smarttrim_jax.ranges import Fraction


@dataclasses.dataclass(frozen=True)
class CurriculumConfig(Settings):
    """How the target and the gates' noise change during trim-tuning.

    Attributes:
        fraction: Share of the trim-tuning steps over which the target moves; then it stays.
        anneal: Let the gates' noise fade over the remaining steps, so that the model ends on the decisions that
            evaluation takes.
    """

    fraction: Fraction = 0.5
    anneal: bool = True

    def span(self, total_steps: int) -> float:
        """Returns the number of steps over which the target moves.

        Args:
            total_steps: Number of trim-tuning steps.

        Returns:
            The number of steps, at least 1.
        """
        return max(self.fraction * total_steps, 1.0)


def target_ratio(
    config: CurriculumConfig, target_speedup: float, step: Int[Array, ""] | int, total_steps: int
) -> Float[Array, ""]:
    """Returns the share of the full MACs aimed at in a step: a cosine from 1 to `1 / target_speedup`.

    Args:
        config: Its `fraction` says over how many steps the target moves.
        target_speedup: Speed-up at the end of the curriculum, at least 1.
        step: Step of trim-tuning, counted from 0; may be traced.
        total_steps: Number of trim-tuning steps.

    Returns:
        The share, a float32 scalar.
    """
    progress = jnp.clip(jnp.asarray(step, jnp.float32) / config.span(total_steps), 0.0, 1.0)
    return 1.0 - (1.0 - 1.0 / target_speedup) * 0.5 * (1.0 - jnp.cos(jnp.pi * progress))


def noise_level(config: CurriculumConfig, step: Int[Array, ""] | int, total_steps: int) -> Float[Array, ""]:
    """Returns the scale of the gates' noise: 1 while the target moves, then falling linearly to 0 at the last step.

    Args:
        config: Its `fraction` says when the target stops moving, its `anneal` whether the noise fades.
        step: Step of trim-tuning, counted from 0; may be traced.
        total_steps: Number of trim-tuning steps.

    Returns:
        The scale, a float32 scalar between 0 and 1.
    """
    if not config.anneal:
        return jnp.ones((), jnp.float32)
    start = config.fraction * total_steps
    left = jnp.clip((jnp.asarray(step, jnp.float32) - start) / jnp.maximum(total_steps - 1 - start, 1.0), 0.0, 1.0)
    return 1.0 - left
