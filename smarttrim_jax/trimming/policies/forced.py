"""A policy that decides by tables, at the cost of the learned one: for benchmarks and tests at any keep rate."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.gates import GateKey, Gates, Trim, decide
from smarttrim_jax.trimming.policies.base import Decided, LayerContext, Policy, PolicyConfig, RunTrimming, SideShape
from smarttrim_jax.trimming.policies.learned import LearnedPolicyConfig

T = TypeVar("T", bound=Tokens)

CERTAIN = 1e3
"""A logit margin that only an offset from `offset_that_keeps` overcomes."""
NEVER = -1.0
"""A table's entry that is dropped whatever share is kept."""


@dataclasses.dataclass(frozen=True)
class ForcedPolicyConfig(PolicyConfig):
    """Decisions by tables, which are parameters; see `forced_trimmers`.

    Attributes:
        learned: The trimmers that are computed, so that a decision costs as much as theirs.
        policy: The name of this policy.
    """

    learned: LearnedPolicyConfig = LearnedPolicyConfig()
    policy: Literal["forced"] = "forced"

    def build(self, side: SideShape, where: RunTrimming, *, rngs: nnx.Rngs) -> "ForcedPolicy":
        """Builds the policy of one side of one layer, with tables that keep everything; see `PolicyConfig.build`."""
        return ForcedPolicy(side, where, self, rngs=rngs)

    def macs(
        self, gates: Gates, entering: Float[Array, "batch tokens"], side: SideShape, where: RunTrimming
    ) -> Float[Array, " batch"]:
        """Counts the MACs of the learned trimmers; see `PolicyConfig.macs`."""
        return self.learned.macs(gates, entering, side, where)


class ForcedPolicy(Policy):
    """Computes the learned trimmers, and decides by tables instead of their logits.

    Args:
        side: The side's sizes.
        where: What is trimmed.
        config: The trimmers' sizes.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, side: SideShape, where: RunTrimming, config: ForcedPolicyConfig, *, rngs: nnx.Rngs):
        self.learned = config.learned.build(side, where, rngs=rngs)
        self.tokens = nnx.Param(jnp.ones((1, 1), jnp.float32)) if where.tokens else None
        self.heads = nnx.Param(jnp.ones((1, 1), jnp.float32)) if where.heads and side.heads else None

    def __call__(self, tokens: T, context: LayerContext, trim: Trim, *, key: jax.Array | None = None) -> Decided[T]:
        """Decides by the tables; see `Policy.__call__`."""
        rows = tokens.shape[0]
        wanted, gates = self.learned(tokens=tokens, context=context, trim=trim)
        if self.tokens is not None:
            table = tokens.look_up(self.tokens[...])
            keep = _by_table(table, trim.laid_out(rows, tokens.spread), computed=wanted.gate)
            tokens = tokens.close(jnp.broadcast_to(keep, tokens.gate.shape))
            gates = dataclasses.replace(gates, tokens=tokens.padded_gate)
        if self.heads is not None:
            mode = trim.laid_out(rows, lambda offset: offset[:, None])
            decided = {
                part: jnp.broadcast_to(_by_table(self.heads[...], mode, computed=gate), gate.shape)
                for part, gate in gates.modules.items()
            }
            gates = dataclasses.replace(gates, **decided)
        return Decided(tokens, gates)


def _by_table(table: Float[Array, "..."], trim: Trim, *, computed: Array) -> Float[Array, "..."]:
    """Decides by a table. The learned decision enters with a weight too small to matter, so that it is computed.

    Args:
        table: 1 keeps, 0 drops; in between, the offset decides.
        trim: Holds the offset, which must broadcast against the table.
        computed: The learned gates, broadcastable to the table.

    Returns:
        1 open, 0 closed.
    """
    wish = CERTAIN * (2.0 * table - 1.0)
    margin = jnp.stack([wish, -wish], axis=-1) + 1e-9 * computed[..., None]
    return decide(margin, trim, None)


def forced_trimmers(
    trimmers: Mapping[str, Any],
    *,
    tokens: Mapping[GateKey, Float[Array, "..."]],
    heads: Mapping[GateKey, Float[Array, "..."]],
) -> dict[str, Any]:
    """Makes parameters of forced policies from those of learned ones.

    Args:
        trimmers: The parameters of a model's learned policies, by the name of their gates.
        tokens: Tables `[rows, tokens]`, or `[layers that trim, rows, tokens]`, over original tokens: 1 keeps, 0
            drops, and numbers in between keep from some offset on (see `offset_that_keeps`). A single row holds for
            all examples. A side without a table keeps everything.
        heads: Tables of heads in the same form, `[rows, heads]` or `[layers that trim, rows, heads]`; each holds for
            all attention modules of its side.

    Returns:
        The parameters of the forced policies, by the same names.
    """
    given = {
        "tokens": ("token", {key.name: table for key, table in tokens.items()}),
        "heads": ("head", {key.name: table for key, table in heads.items()}),
    }
    keeps_everything = jnp.ones((1, 1), jnp.float32)
    forced = {}
    for name, learned in trimmers.items():
        depth = jax.tree.leaves(learned)[0].shape[0]
        part: dict[str, Any] = {"learned": learned}
        for kind, (trimmer, tables) in given.items():
            if trimmer in learned:
                table = tables.get(name, keeps_everything)
                part[kind] = table if table.ndim == 3 else jnp.broadcast_to(table, (depth, *table.shape))
        forced[name] = part
    return forced


def offset_that_keeps(share: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """Returns the offset at which table entries of at least `1 - share` are kept; entries of 1 are kept at any share.

    Args:
        share: Between 0 and 1, of any shape.

    Returns:
        Offsets of the same shape.
    """
    return 2 * CERTAIN * (2.0 * share - 1.0)
