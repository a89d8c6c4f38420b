"""The cost objective: a squared miss of the budget, and a multiplier that grows while the budget is exceeded."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.configuration import Settings
from smarttrim_jax.ranges import NonNegativeFloat, SpeedUp
from smarttrim_jax.trimming.gates import TrimRecord

STEERING = 0.5
"""How far the dial of a policy without gradients moves in a step, for a miss as large as the budget. Twice as much
would make the kept share of deep models swing."""
FARTHEST = 6.0
"""The offset in either direction beyond which it does not move; a share of one half then is .998 or .002."""
FIRST_OFFSET = 3.0
"""Where it starts: a share of .7 then is .98, so that nearly everything is kept."""


@dataclasses.dataclass(frozen=True)
class CostConfig(Settings):
    """The budget, and how strongly the loss pursues it.

    Attributes:
        kind: "macs" asks for a speed-up in MACs; "ratio" for a share of tokens and heads kept.
        target_speedup: MACs of the full model over those of the trimmed one, at least 1.
        weight: Weight of the squared miss.
        multiplier_rate: How fast the multiplier follows the miss, per step; 0 keeps it at 0.
    """

    kind: Literal["macs", "ratio"] = "macs"
    target_speedup: SpeedUp = 2.0
    weight: NonNegativeFloat = 10.0
    multiplier_rate: NonNegativeFloat = 0.05


def retention(record: TrimRecord) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Computes the share of tokens and of heads that are kept, over all runs and layers.

    Args:
        record: The gates of a forward pass.

    Returns:
        The share of tokens kept among those that are no padding, and the share of heads kept; two scalars.
    """
    full = record.opened()
    kept = [jnp.sum(gate.tokens) for gate in record.gates.values()]
    present = [jnp.sum(gate.tokens) for gate in full.gates.values()]
    heads = [part for gate in record.gates.values() for part in gate.modules.values()]
    share = sum(jnp.sum(part) for part in heads) / sum(part.size for part in heads)
    return sum(kept) / jnp.maximum(sum(present), 1.0), jnp.asarray(share)


def misses(
    config: CostConfig,
    record: TrimRecord,
    ratio: Float[Array, ""],
    target_ratio: Float[Array, ""],
) -> Float[Array, " kinds"]:
    """Computes by how much each controlled quantity exceeds its budget.

    Args:
        config: The budget; `kind` says what is controlled.
        record: The gates of a forward pass.
        ratio: Mean MACs over mean full MACs, a scalar; used by the kind "macs".
        target_ratio: The share aimed at in this step, a scalar (see `target_ratio` in `trimming.curriculum`).

    Returns:
        `[1]` for "macs", `[2]` for "ratio" (tokens and heads); negative below the budget.
    """
    if config.kind == "macs":
        return jnp.stack([ratio - target_ratio])
    return jnp.stack(retention(record)) - target_ratio


def cost_loss(
    config: CostConfig, miss: Float[Array, " kinds"], multiplier: Float[Array, " kinds"]
) -> Float[Array, ""]:
    """Computes the loss `weight * miss^2 + multiplier * miss`, an augmented Lagrangian that drives the miss to zero.

    Args:
        config: Holds the weight.
        miss: By how much each controlled quantity exceeds its budget, as `misses` returns it.
        multiplier: The multiplier of each controlled quantity, at least 0; no gradient flows through it.

    Returns:
        The loss, a scalar, summed over the quantities.
    """
    return jnp.sum(config.weight * miss**2 + jax.lax.stop_gradient(multiplier) * miss)


def update_multiplier(
    config: CostConfig, multiplier: Float[Array, " kinds"], miss: Float[Array, " kinds"]
) -> Float[Array, " kinds"]:
    """Raises the multiplier while the budget is exceeded and lowers it otherwise (dual ascent).

    Args:
        config: Holds the rate.
        multiplier: The multiplier of each controlled quantity.
        miss: By how much each controlled quantity exceeds its budget.

    Returns:
        The next step's multiplier, never negative.
    """
    return jnp.maximum(multiplier + config.multiplier_rate * jax.lax.stop_gradient(miss), 0.0)


def steer(offset: Float[Array, ""], miss: Float[Array, " kinds"], target_ratio: Float[Array, ""]) -> Float[Array, ""]:
    """Moves the dial of a policy without gradients against the miss, so that it stays at the budget.

    Args:
        offset: The dial's offset in this step, a scalar.
        miss: By how much each controlled quantity exceeds its budget; the first one counts.
        target_ratio: The share aimed at in this step, a scalar.

    Returns:
        The next step's offset.
    """
    moved = offset - STEERING * jax.lax.stop_gradient(miss[0]) / target_ratio
    return jnp.clip(moved, -FARTHEST, FARTHEST)


def initial_multiplier(config: CostConfig) -> Float[Array, " kinds"]:
    """Returns a zero multiplier for each controlled quantity.

    Args:
        config: Its `kind` says how many there are.

    Returns:
        `[1]` for "macs", `[2]` for "ratio".
    """
    return jnp.zeros(1 if config.kind == "macs" else 2, jnp.float32)
