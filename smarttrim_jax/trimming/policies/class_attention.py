"""A policy that keeps the tokens which the global token attends to most: EViT's and FastV's rule, as a baseline."""

import dataclasses
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.ranges import Fraction
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.gates import Gates, Trim, open_gates
from smarttrim_jax.trimming.policies.base import Decided, LayerContext, Policy, PolicyConfig, RunTrimming, SideShape
from smarttrim_jax.trimming.policies.layer_attention import self_attention
from smarttrim_jax.trimming.policies.shares import first_places, share_at

T = TypeVar("T", bound=Tokens)


@dataclasses.dataclass(frozen=True)
class ClassAttentionPolicyConfig(PolicyConfig):
    """Tokens that the global token of their own side attends to most; all heads stay open.

    Each layer scores by its own self-attention, of which it computes queries and keys for that: scores of the layer
    before would be a layer older, and fused attention does not give them. A side that the layer only reads has no
    self-attention there, and keeps its tokens.

    Attributes:
        tokens: The share of the tokens entering a layer that it keeps with the speed dial at 0.
        policy: The name of this policy.
    """

    tokens: Fraction = 0.7
    policy: Literal["class_attention"] = "class_attention"
    is_steered = True

    def build(self, side: SideShape, where: RunTrimming, *, rngs: nnx.Rngs) -> "ClassAttentionPolicy":
        """Builds the policy of one side of one layer, which has no parameters; see `PolicyConfig.build`."""
        return ClassAttentionPolicy(side, where, self)

    def macs(
        self, gates: Gates, entering: Float[Array, "batch tokens"], side: SideShape, where: RunTrimming
    ) -> Float[Array, " batch"]:
        """Counts the MACs of a layer's one query, of its keys and of their products; see `PolicyConfig.macs`."""
        layers = gates.tokens.shape[0] - where.first_layer
        if layers <= 0 or not where.tokens or not side.heads:
            return jnp.zeros(entering.shape[0], jnp.float32)
        before = jnp.concatenate([entering[None], gates.tokens[:-1]])[where.first_layer :]
        keys = jnp.sum(before, axis=(0, 2))
        return keys * (side.width**2 + side.width) + layers * side.width**2


class ClassAttentionPolicy(Policy):
    """Keeps the tokens of one side of one layer by the attention that the global token pays them.

    Args:
        side: The side's sizes.
        where: What is trimmed.
        config: The share that is kept.
    """

    reads_layer = True

    def __init__(self, side: SideShape, where: RunTrimming, config: ClassAttentionPolicyConfig):
        self.heads = side.heads
        self.sources = len(side.other_widths)
        self.share = config.tokens if where.tokens and side.heads else 1.0

    def __call__(self, tokens: T, context: LayerContext, trim: Trim, *, key: jax.Array | None = None) -> Decided[T]:
        """Ranks by the layer's attention, in training as in evaluation; see `Policy.__call__`.

        Raises:
            ConfigError: The layer has no self-attention that can be read; see `self_attention`.
        """
        if self.share < 1:
            attention, read = self_attention(context.layer, tokens, "class_attention")
            attended = jax.lax.stop_gradient(attention.weights_of(read.global_token, read))
            # The global token itself comes first; closed tokens and padding come last.
            order = jnp.where(tokens.padded_gate > 0, -attended, 1.0).at[:, 0].set(-jnp.inf)
            dial = trim.laid_out(tokens.shape[0], lambda offset: offset[:, None])
            kept = first_places(order, share_at(self.share, dial), tokens.counts[:, None])
            tokens = tokens.close(tokens.look_up(kept))
        return Decided(tokens, open_gates(tokens, self.heads, sources=self.sources))
