"""Policies that score tokens by the self-attention of the layer, and leave a share of those that enter it."""

import abc
import dataclasses
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.nn.attention import Attention
from smarttrim_jax.ranges import Fraction
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.gates import Gates, Trim, open_gates
from smarttrim_jax.trimming.policies.base import (
    Decided,
    LayerContext,
    Policy,
    PolicyConfig,
    RunTrimming,
    SideShape,
    tokens_entering,
)
from smarttrim_jax.trimming.policies.shares import share_at

T = TypeVar("T", bound=Tokens)


@dataclasses.dataclass(frozen=True)
class LayerAttentionPolicyConfig(PolicyConfig):
    """A share of the tokens entering each layer; all heads stay open.

    A side that the layer only reads has no self-attention there, and keeps its tokens.

    Attributes:
        tokens: The share that a layer leaves with the speed dial at 0.
    """

    tokens: Fraction = 0.7
    is_steered = True

    def macs(
        self, gates: Gates, entering: Float[Array, "batch tokens"], side: SideShape, where: RunTrimming
    ) -> Float[Array, " batch"]:
        """Counts the MACs of the scores of all layers that trim; see `PolicyConfig.macs`."""
        if not where.tokens or not side.heads:
            return jnp.zeros(entering.shape[0], jnp.float32)
        counts = jnp.sum(tokens_entering(gates, entering, where), axis=2)
        return jnp.sum(self.score_macs(counts, side), axis=0)

    @abc.abstractmethod
    def score_macs(self, counts: Float[Array, "layers batch"], side: SideShape) -> Float[Array, "layers batch"]:
        """Counts the MACs of the scores of each layer.

        Args:
            counts: Tokens that enter each layer, `[layers, batch]`.
            side: The side's sizes.

        Returns:
            MACs of each example, `[layers, batch]`.
        """


class LayerAttentionPolicy(Policy):
    """Leaves a share of the tokens of one side of one layer.

    Args:
        side: The side's sizes.
        where: What is trimmed.
        config: The share that is left.
    """

    reads_layer = True

    def __init__(self, side: SideShape, where: RunTrimming, config: LayerAttentionPolicyConfig):
        self.name = config.policy
        self.heads = side.heads
        self.sources = len(side.other_widths)
        self.share = config.tokens if where.tokens and side.heads else 1.0

    def __call__(self, tokens: T, context: LayerContext, trim: Trim, *, key: jax.Array | None = None) -> Decided[T]:
        """Scores by the layer's attention, in training as in evaluation; see `Policy.__call__`.

        Raises:
            ConfigError: The layer has no self-attention that can be read.
        """
        if self.share < 1:
            attention, read = self._self_attention(context.layer, tokens)
            tokens = self.leave(share_at(self.share, trim, tokens.shape[0]), tokens, attention, read)
        return Decided(tokens, open_gates(tokens, self.heads, sources=self.sources))

    @abc.abstractmethod
    def leave(self, share: Float[Array, "..."], tokens: T, attention: Attention, read: T) -> T:
        """Closes or merges tokens until a share of those that are open is left.

        Args:
            share: The share, broadcastable to `[rows, 1]`.
            tokens: The layer's input.
            attention: The layer's self-attention.
            read: What it reads: the same tokens, after the layer's norm where that comes first.

        Returns:
            The layer's input with fewer open tokens.
        """

    def _self_attention(self, layer: Any, tokens: T) -> tuple[Attention, T]:
        """The layer's self-attention, and the tokens that its keys are computed from."""
        if not (hasattr(layer, "attention_input") and isinstance(getattr(layer, "attention", None), Attention)):
            raise ConfigError(
                f"the policy {self.name} needs layers with an Attention named attention and a method "
                f"attention_input(tokens), which {type(layer).__name__} has not; those of "
                "smarttrim_jax.nn.layers have both"
            )
        return layer.attention, layer.attention_input(tokens)
