"""What packed execution really computes: open tokens, closed ones not yet removed, and fillers."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.execution.executor import PackedLengths
from smarttrim_jax.models.functional import Functional
from smarttrim_jax.trimming.gates import Gates, TrimRecord


def executed_macs(model: Functional, record: TrimRecord, lengths: PackedLengths | None = None) -> float:
    """MACs of a batch with every token that lay in memory, and with all heads.

    Attention's products are taken at the lengths that the examples would have if they shared the fillers.

    Args:
        model: that ran.
        record: of the batch.
        lengths: tokens in memory in every layer, see `PackedExecutor.lengths`; the open ones if there were no others.
    """
    gates = {}
    for key, gate in record.gates.items():
        open_tokens = jnp.sum(gate.tokens, axis=(1, 2))
        held = open_tokens if lengths is None else [sides[key.side] for run, sides in lengths if run == key.run]
        gates[key] = _weighted(gate, jnp.asarray(held) / open_tokens)
    return float(jnp.sum(model.macs(TrimRecord(gates, record.present))))


def _weighted(gates: Gates, weight: Float[Array, " layers"]) -> Gates:
    """The token gates of every layer times its weight; all heads open."""
    return Gates(gates.tokens * weight[:, None, None], **jax.tree.map(jnp.ones_like, gates.modules))
