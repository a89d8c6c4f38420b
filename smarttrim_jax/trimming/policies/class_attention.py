"""A policy that keeps the tokens which the global token attends to most: EViT's and FastV's rule, as a baseline."""

import dataclasses
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.nn.attention import Attention
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.policies.base import RunTrimming, SideShape
from smarttrim_jax.trimming.policies.layer_attention import LayerAttentionPolicy, LayerAttentionPolicyConfig
from smarttrim_jax.trimming.policies.shares import first_places

T = TypeVar("T", bound=Tokens)


@dataclasses.dataclass(frozen=True)
class ClassAttentionPolicyConfig(LayerAttentionPolicyConfig):
    """Tokens that the global token of their own side attends to most.

    Each layer scores by its own self-attention, of which it computes queries and keys for that: scores of the layer
    before would be a layer older, and fused attention does not give them.

    Attributes:
        policy: The name of this policy.
    """

    policy: Literal["class_attention"] = "class_attention"

    def build(self, side: SideShape, where: RunTrimming, *, rngs: nnx.Rngs) -> "ClassAttentionPolicy":
        """Builds the policy of one side of one layer, which has no parameters; see `PolicyConfig.build`."""
        return ClassAttentionPolicy(side, where, self)

    def score_macs(self, counts: Float[Array, "layers batch"], side: SideShape) -> Float[Array, "layers batch"]:
        """Counts one query, all keys, and their products; see `LayerAttentionPolicyConfig.score_macs`."""
        return counts * (side.width**2 + side.width) + side.width**2


class ClassAttentionPolicy(LayerAttentionPolicy):
    """Keeps the tokens of one side of one layer by the attention that the global token pays them."""

    def leave(self, share: Float[Array, "..."], tokens: T, attention: Attention, read: T) -> T:
        """Closes the tokens that are read least; see `LayerAttentionPolicy.leave`."""
        attended = jax.lax.stop_gradient(attention.weights_of(read.global_token, read))
        # The global token itself comes first; closed tokens and padding come last.
        order = jnp.where(tokens.padded_gate > 0, -attended, 1.0).at[:, 0].set(-jnp.inf)
        return tokens.close(tokens.look_up(first_places(order, share, tokens.counts[:, None])))
