"""A policy that keeps a random share of tokens and heads: the baseline for every other policy."""

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
from smarttrim_jax.trimming.policies.shares import first_places, share_at

T = TypeVar("T", bound=Tokens)


@dataclasses.dataclass(frozen=True)
class RandomPolicyConfig(PolicyConfig):
    """Tokens and heads that are kept at random.

    The draw depends on the example's own inputs alone, so an example keeps the same tokens in any batch and in any
    execution. A token that one layer drops stays dropped, and all layers of a run keep the same share.

    Attributes:
        tokens: The share of an example's tokens that is kept with the speed dial at 0.
        heads: The share of the heads of each attention module that is kept with the speed dial at 0; 1 keeps all
            heads at any setting.
        policy: The name of this policy.
    """

    tokens: Fraction = 0.5
    heads: Fraction = 1.0
    policy: Literal["random"] = "random"
    draws = True
    is_steered = True

    def build(self, side: SideShape, where: RunTrimming, *, rngs: nnx.Rngs) -> "RandomPolicy":
        """Builds the policy of one side of one layer, which has no parameters; see `PolicyConfig.build`."""
        return RandomPolicy(side, where, self)

    def macs(
        self, gates: Gates, entering: Float[Array, "batch tokens"], side: SideShape, where: RunTrimming
    ) -> Float[Array, " batch"]:
        """Returns zeros, since a random draw multiplies nothing; see `PolicyConfig.macs`."""
        return jnp.zeros(entering.shape[0], jnp.float32)


class RandomPolicy(Policy):
    """Draws the kept tokens and heads of one side of one layer.

    Args:
        side: The side's sizes.
        where: What is trimmed.
        config: The shares that are kept.
    """

    def __init__(self, side: SideShape, where: RunTrimming, config: RandomPolicyConfig):
        self.heads = side.heads
        self.sources = len(side.other_widths)
        self.token_share = config.tokens if where.tokens else 1.0
        self.head_share = config.heads if where.heads else 1.0

    def __call__(self, tokens: T, context: LayerContext, trim: Trim, *, key: jax.Array | None = None) -> Decided[T]:
        """Draws by the examples' seeds, in training as in evaluation; see `Policy.__call__`.

        Raises:
            ValueError: `context.seed` is None.
        """
        if context.seed is None:
            raise ValueError("a random policy needs the seeds of the examples, which VisionLanguageModel.start makes")
        rows, length = tokens.shape
        keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(0), context.seed)
        if self.token_share < 1:
            order = jax.vmap(lambda key: jax.random.uniform(key, (length,)))(keys)
            # Padding comes last, so that the ranks below the count are those of real tokens.
            order = jnp.where(context.present > 0, order, 2.0)
            kept = first_places(
                order, share_at(self.token_share, trim, rows), jnp.sum(context.present, axis=1, keepdims=True)
            )
            tokens = tokens.close(tokens.look_up(kept))
        gates = open_gates(tokens, self.heads, sources=self.sources)
        if self.head_share < 1:
            decided = {}
            for number, (part, gate) in enumerate(gates.modules.items(), start=1):
                part_keys = jax.vmap(lambda key, number=number: jax.random.fold_in(key, number))(keys)
                order = jax.vmap(lambda key: jax.random.uniform(key, (self.heads,)))(part_keys)
                decided[part] = first_places(
                    order, share_at(self.head_share, trim, rows), jnp.full((rows, 1), gate.shape[1])
                )
            gates = dataclasses.replace(gates, **decided)
        return Decided(tokens, gates)
