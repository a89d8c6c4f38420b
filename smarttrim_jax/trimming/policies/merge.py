"""A policy that merges the most similar tokens instead of dropping any: ToMe (Bolya et al. 2023), as a baseline.

A merged token counts in attention as many times as tokens went into it. Since gates multiply the exponentials of the
scores, a gate of n does so exactly: ToMe's proportional attention, which adds log n to the scores.
"""

import dataclasses
from typing import Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from smarttrim_jax.nn.attention import Attention
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.policies.base import RunTrimming, SideShape
from smarttrim_jax.trimming.policies.layer_attention import LayerAttentionPolicy, LayerAttentionPolicyConfig
from smarttrim_jax.trimming.policies.shares import first_places

T = TypeVar("T", bound=Tokens)


@dataclasses.dataclass(frozen=True)
class MergePolicyConfig(LayerAttentionPolicyConfig):
    """Tokens merged by the similarity of their keys; a layer merges at most every second token.

    Attributes:
        policy: The name of this policy.
    """

    policy: Literal["merge"] = "merge"

    @property
    def weighs_tokens(self) -> bool:
        """True, since a merged token counts as all that it stands for."""
        return True

    def build(self, side: SideShape, where: RunTrimming, *, rngs: nnx.Rngs) -> "MergePolicy":
        """Builds the policy of one side of one layer, which has no parameters; see `PolicyConfig.build`."""
        return MergePolicy(side, where, self)

    def score_macs(self, counts: Float[Array, "layers batch"], side: SideShape) -> Float[Array, "layers batch"]:
        """Counts all keys, and the products of two halves; see `LayerAttentionPolicyConfig.score_macs`."""
        return counts * side.width**2 + counts**2 / 4 * (side.width // side.heads)


class MergePolicy(LayerAttentionPolicy):
    """Merges the tokens of one side of one layer."""

    def leave(self, share: Float[Array, "..."], tokens: T, attention: Attention, read: T) -> T:
        """Merges the tokens with the most similar keys; see `LayerAttentionPolicy.leave`."""
        keys = read.pad(jax.lax.stop_gradient(attention.mean_keys(read).values))
        sizes = jax.lax.stop_gradient(tokens.padded_gate)
        pairs = match(keys.astype(jnp.float32), sizes > 0)
        first = first_places(-pairs.similarity, 1 - share, tokens.counts[:, None])
        leaving = (first > 0) & jnp.isfinite(pairs.similarity)
        means, grown = merged(tokens.pad(tokens.values), sizes, leaving, pairs.partner)
        factor = jnp.where(leaving, 0.0, grown / jnp.maximum(sizes, 1.0))
        return tokens.replace(tokens.look_up(means)).close(tokens.look_up(factor))


class Pairs(NamedTuple):
    """For each token that may leave, the token that it would be merged into.

    Attributes:
        similarity: `[rows, tokens]`, the cosine of both keys; minus infinity for tokens that may not leave.
        partner: `[rows, tokens]`, the index of the other token.
    """

    similarity: Float[Array, "rows tokens"]
    partner: Int[Array, "rows tokens"]


def match(keys: Float[Array, "rows tokens width"], is_open: Bool[Array, "rows tokens"]) -> Pairs:
    """Matches every second open token with the most similar one of the others; the first token takes no part.

    Follows ToMe's `bipartite_soft_matching`.

    Args:
        keys: What tokens are compared by, `[rows, tokens, width]`.
        is_open: `[rows, tokens]`, whether a token is there.

    Returns:
        The pairs.
    """
    length = jnp.linalg.norm(keys, axis=-1, keepdims=True)
    keys = keys / jnp.maximum(length, jnp.finfo(keys.dtype).tiny)
    number = jnp.cumsum(is_open, axis=1) - 1  # among the open tokens
    may_leave = is_open & (number % 2 == 0) & (number > 0)
    stays = is_open & (number % 2 == 1)
    similarity = jnp.einsum("rad,rbd->rab", keys, keys)
    similarity = jnp.where(may_leave[:, :, None] & stays[:, None, :], similarity, -jnp.inf)
    return Pairs(jnp.max(similarity, axis=2), jnp.argmax(similarity, axis=2))


def merged(
    values: Float[Array, "rows tokens width"],
    sizes: Float[Array, "rows tokens"],
    leaving: Bool[Array, "rows tokens"],
    partner: Int[Array, "rows tokens"],
) -> tuple[Float[Array, "rows tokens width"], Float[Array, "rows tokens"]]:
    """Merges tokens into others.

    Args:
        values: The token vectors, `[rows, tokens, width]`.
        sizes: `[rows, tokens]`, how many tokens each stands for; 0 for closed ones.
        leaving: `[rows, tokens]`, the tokens that are merged into another one.
        partner: `[rows, tokens]`, the index of that other one.

    Returns:
        The means weighted by the sizes, `[rows, tokens, width]`, and the new sizes, `[rows, tokens]`; those of the
        tokens that left have no meaning.
    """
    rows, length = sizes.shape
    target = jnp.where(leaving, partner, jnp.arange(length))
    row = jnp.arange(rows)[:, None]
    grown = jnp.zeros_like(sizes).at[row, target].add(sizes)
    sums = jnp.zeros(values.shape, jnp.float32).at[row, target].add(values * sizes[..., None])
    means = jnp.where(grown[..., None] > 0, sums / jnp.maximum(grown, 1.0)[..., None], values)
    return means.astype(values.dtype), grown
