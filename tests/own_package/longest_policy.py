"""A policy of a user's own: the tokens with the longest vectors stay, more of them the higher the dial stands."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from smarttrim_jax.trimming.gates import open_gates
from smarttrim_jax.trimming.policies import Decided, Policy, PolicyConfig, register_policy


@dataclasses.dataclass(frozen=True)
class LongestPolicyConfig(PolicyConfig):
    """Tokens longer than this times the longest of the example stay."""

    ratio: float = 0.8
    policy: Literal["longest"] = "longest"

    def build(self, side: Any, where: Any, *, rngs: Any) -> "LongestPolicy":
        return LongestPolicy(side.heads, len(side.other_widths), self.ratio if where.tokens else 0.0)

    def macs(self, gates: Any, entering: Any, side: Any, where: Any) -> jax.Array:
        return jnp.sum(gates.tokens, axis=(0, 2)) * side.width


class LongestPolicy(Policy):
    """It has no parameters."""

    def __init__(self, heads: int, sources: int, ratio: float):
        self.heads, self.sources, self.ratio = heads, sources, ratio

    def __call__(self, tokens: Any, context: Any, trim: Any, *, key: jax.Array | None = None) -> Any:
        lengths = jnp.linalg.norm(tokens.pad(tokens.values).astype(jnp.float32), axis=-1) * tokens.padded_gate
        longest = jnp.max(lengths, axis=1, keepdims=True)
        dial = trim.laid_out(tokens.shape[0], lambda offset: offset[:, None])
        kept = lengths >= self.ratio * jnp.exp(-jnp.asarray(dial.offset, jnp.float32)) * longest
        tokens = tokens.close(tokens.look_up(kept.astype(jnp.float32)))
        return Decided(tokens, open_gates(tokens, self.heads, sources=self.sources))


register_policy("longest", LongestPolicyConfig)


@dataclasses.dataclass(frozen=True)
class LongestKeyPolicyConfig(LongestPolicyConfig):
    """The same by the length of the keys that the layer's own attention would make of the tokens."""

    policy: Literal["longest_key"] = "longest_key"

    def build(self, side: Any, where: Any, *, rngs: Any) -> "LongestPolicy":
        return LongestKeyPolicy(side.heads, len(side.other_widths), self.ratio if where.tokens else 0.0)


class LongestKeyPolicy(LongestPolicy):
    """A side that the layer only reads has no attention of its own, and keeps its tokens."""

    reads_layer = True

    def __call__(self, tokens: Any, context: Any, trim: Any, *, key: jax.Array | None = None) -> Any:
        if context.layer is None:
            return Decided(tokens, open_gates(tokens, self.heads, sources=self.sources))
        keys = tokens.replace(context.layer.attention.key(tokens.values))
        closed, _ = super().__call__(keys, context, trim, key=key)
        tokens = tokens.close((closed.gate > 0).astype(jnp.float32))
        return Decided(tokens, open_gates(tokens, self.heads, sources=self.sources))


register_policy("longest_key", LongestKeyPolicyConfig)
