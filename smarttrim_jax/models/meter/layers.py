"""METER's policies, and one layer of its fusion."""

from typing import Any

import jax
from flax import nnx

from smarttrim_jax.models.layers import existing, stack_policies
from smarttrim_jax.models.meter.config import MeterConfig
from smarttrim_jax.models.meter.macs import sides
from smarttrim_jax.models.segments import State
from smarttrim_jax.nn.layers import PostNormLayer
from smarttrim_jax.nn.regularization import split_key
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import GateKey, GatesByKey


def make_policies(config: MeterConfig, trimming: TrimmingConfig, rngs: nnx.Rngs) -> dict[str, nnx.Module]:
    """The stacked policies of every run that trims anything, by the name of their gates."""
    return existing(
        {
            key: stack_policies(side.shape, side.depth, side.where, trimming, rngs)
            for key, side in sides(config).items()
        }
    )


def fusion_layer(layers: dict[str, PostNormLayer], state: State, gates: GatesByKey, key: jax.Array | None) -> State:
    """One layer of both sides in lock-step, each reading the other's previous state."""
    keys = split_key(key, 2)

    def compute(side: str, source: str, key: jax.Array | None) -> Any:
        gate = gates[GateKey("fusion", side)]
        return layers[side](
            tokens=state[side],
            source=state[source],
            head_gate=gate.heads,
            cross_head_gate=gate.cross_heads,
            key=key,
        )

    return {"text": compute("text", "image", keys[0]), "image": compute("image", "text", keys[1])}
