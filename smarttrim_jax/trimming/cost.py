"""The computational-cost objective, with a multiplier that follows the miss."""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.configuration import Settings
from smarttrim_jax.ranges import NonNegativeFloat, SpeedUp
from smarttrim_jax.trimming.gates import TrimRecord


@dataclasses.dataclass(frozen=True)
class CostConfig(Settings):
    """The budget and how hard it is pursued.

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


def macs_ratio(trimmed: Float[Array, " batch"], full: Float[Array, " batch"]) -> Float[Array, ""]:
    """Mean MACs over mean full MACs: instances may differ, the budget is the mean over the global batch."""
    return jnp.mean(trimmed) / jnp.mean(full)


def retention(record: TrimRecord) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean share of tokens (that are no padding) and of heads kept, over all runs and layers."""
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
    """How far above its budget each controlled quantity is: MACs, or tokens and heads apart."""
    if config.kind == "macs":
        return jnp.stack([ratio - target_ratio])
    return jnp.stack(retention(record)) - target_ratio


def cost_loss(
    config: CostConfig, miss: Float[Array, " kinds"], multiplier: Float[Array, " kinds"]
) -> Float[Array, ""]:
    """`weight * miss^2 + multiplier * miss`: an augmented Lagrangian, whose miss goes to zero."""
    return jnp.sum(config.weight * miss**2 + jax.lax.stop_gradient(multiplier) * miss)


def update_multiplier(
    config: CostConfig, multiplier: Float[Array, " kinds"], miss: Float[Array, " kinds"]
) -> Float[Array, " kinds"]:
    """Dual ascent: the multiplier grows while the budget is exceeded and never turns negative."""
    return jnp.maximum(multiplier + config.multiplier_rate * jax.lax.stop_gradient(miss), 0.0)


def initial_multiplier(config: CostConfig) -> Float[Array, " kinds"]:
    """Zero for each controlled quantity."""
    return jnp.zeros(1 if config.kind == "macs" else 2, jnp.float32)
