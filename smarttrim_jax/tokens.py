"""How tokens lie in memory: the only module that knows.

Norms, projections and MLPs act on `[..., width]`; whatever mixes tokens, or meets one vector per example
with many tokens, asks the tokens themselves. Another layout is another class with these methods.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol, Self

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Tokens(Protocol):
    """The sequences of a batch: their vectors, and which of them are still open."""

    @property
    def values(self) -> Array:
        """The vectors, `[..., width]`."""

    @property
    def gate(self) -> Array:
        """1 open, 0 closed."""

    @property
    def global_token(self) -> Float[Array, "batch width"]:
        """The first token ([CLS], <s>) of every example."""

    def replace(self, values: Array) -> Self:
        """The same sequences with other vectors."""

    def spread(self, per_example: Float[Array, "batch ..."]) -> Array:
        """One array per example, laid out to broadcast against `values`."""

    def close(self, decision: Array) -> Self:
        """Closes tokens where `decision` is 0; a closed token never opens again."""

    def attend(
        self,
        query: Array,
        key: Array,
        value: Array,
        *,
        source: Self | None = None,
        head_gate: Float[Array, "batch heads"] | None = None,
        drop: Callable[[Array], Array] | None = None,
    ) -> Array:
        """Scaled dot-product attention of these tokens over `source` (themselves by default)."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Padded:
    """Every example in a row of its own, closed and padding tokens in place: static shapes, differentiable gates.

    Attributes:
        values: `[batch, tokens, width]`.
        gate: `[batch, tokens]`, 1 open, 0 closed (padding starts closed); only ever closes.
    """

    values: Float[Array, "batch tokens width"]
    gate: Float[Array, "batch tokens"]

    @property
    def global_token(self) -> Float[Array, "batch width"]:
        """The first token of every example."""
        return self.values[:, 0]

    def replace(self, values: Float[Array, "batch tokens width"]) -> "Padded":
        """The same sequences with other vectors."""
        return Padded(values, self.gate)

    def spread(self, per_example: Float[Array, "batch ..."]) -> Float[Array, "batch 1 ..."]:
        """One array per example, to broadcast against `values`."""
        return per_example[:, None]

    def close(self, decision: Float[Array, "batch tokens"]) -> "Padded":
        """Multiplies the gate by `decision` (0 or 1, differentiable); the first token stays open."""
        return Padded(self.values, self.gate * decision.at[:, 0].set(1.0))

    def attend(
        self,
        query: Float[Array, "batch queries heads head_width"],
        key: Float[Array, "batch keys heads head_width"],
        value: Float[Array, "batch keys heads head_width"],
        *,
        source: "Padded | None" = None,
        head_gate: Float[Array, "batch heads"] | None = None,
        drop: Callable[[Array], Array] | None = None,
    ) -> Float[Array, "batch queries heads head_width"]:
        """Attention over the open tokens of `source`; see `gated_softmax`.

        Args:
            query: of these tokens.
            key: of the tokens of `source`.
            value: of the tokens of `source`.
            source: whose gates weigh the keys; these tokens by default.
            head_gate: multiplies each head's output.
            drop: dropout on the attention weights.
        """
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key, preferred_element_type=jnp.float32)
        keys = self if source is None else source
        weights = gated_softmax(scores * query.shape[-1] ** -0.5, keys.gate[:, None, None, :])
        if drop is not None:
            weights = drop(weights)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights.astype(value.dtype), value)
        return mixed if head_gate is None else mixed * head_gate[:, None, :, None].astype(mixed.dtype)


def gated_softmax(
    scores: Float[Array, "*batch keys"], gate: Float[Array, "*#batch keys"]
) -> Float[Array, "*batch keys"]:
    """Softmax over the keys with a differentiable 0/1 gate: `exp(s_j - max) k_j / sum_j exp(s_j - max) k_j`.

    Closed keys weigh exactly zero, yet gradients reach their gates. The maximum runs over open keys and the
    exponent of closed ones is bounded, so that a large score of a closed key neither overflows nor pushes
    the open ones to zero. With no open key at all every weight is zero.
    """
    scores = scores.astype(jnp.float32)
    gate = gate.astype(jnp.float32)
    is_open = gate > 0
    top = jnp.max(jnp.where(is_open, scores, -jnp.inf), axis=-1, keepdims=True)
    top = jax.lax.stop_gradient(jnp.where(jnp.isfinite(top), top, 0.0))
    shifted = scores - top
    bounded = jax.lax.stop_gradient(jnp.minimum(shifted, 0.0))
    weights = jnp.exp(jnp.where(is_open, shifted, bounded)) * gate
    total = jnp.sum(weights, axis=-1, keepdims=True)
    return weights / jnp.where(total > 0, total, 1.0)


def first_token_open(mask: Int[Array, "batch tokens"]) -> Float[Array, "batch tokens"]:
    """The initial gate of a padding mask: 1 where it is set, and for the global token."""
    return jnp.asarray(mask > 0, jnp.float32).at[:, 0].set(1.0)
