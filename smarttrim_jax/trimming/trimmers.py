"""The trimmers: small networks that score tokens and heads for a layer (paper section 3)."""

from typing import Protocol

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.nn.layers import gelu, layer_norm
from smarttrim_jax.nn.primitives import Linear
from smarttrim_jax.tokens import Tokens, as_tokens


class TrimmerShape(Protocol):
    """What the networks must know of a configuration."""

    @property
    def hidden(self) -> int:
        """Width of their hidden layer."""

    @property
    def initial_bias(self) -> float:
        """The logits start at plus and minus this."""


class GateLogits(nnx.Module):
    """The last layer of a trimmer: (keep, drop) logits that start out open."""

    def __init__(self, hidden: int, decisions: int, initial_bias: float, *, rngs: nnx.Rngs):
        self.projection = Linear(
            hidden,
            2 * decisions,
            kernel_init=nnx.initializers.normal(0.02),
            bias_init=lambda key, shape, dtype=jnp.float32: jnp.tile(
                jnp.asarray([initial_bias, -initial_bias], dtype), decisions
            ),
            rngs=rngs,
        )

    def __call__(self, hidden: Float[Array, "... hidden"]) -> Float[Array, "... decisions 2"]:
        """The two logits of every decision."""
        logits = self.projection(hidden)
        return logits.reshape(*logits.shape[:-1], -1, 2)


class TokenTrimmer(nnx.Module):
    """Uni-modal: `u = GELU(LN(X) W1)`, logits `u W2 + b`, from the token itself."""

    def __init__(self, width: int, shape: TrimmerShape, *, rngs: nnx.Rngs):
        self.norm = layer_norm(width, 1e-6, dtype=jnp.float32, rngs=rngs)
        self.up = Linear(width, shape.hidden, rngs=rngs)
        self.logits = GateLogits(shape.hidden, 1, shape.initial_bias, rngs=rngs)

    def __call__(
        self,
        tokens: Tokens | Float[Array, "batch tokens width"],
        other: Float[Array, "batch width"] | None = None,
    ) -> Float[Array, "... 2"]:
        """Scores every token.

        Args:
            tokens: The layer's input: tokens in any layout, or an array.
            other: Not read; a trimmer of cross-modal layers reads it.

        Returns:
            Logits (keep, drop) of every token, laid out like the tokens.
        """
        return self.logits(gelu(self.up(self.norm(as_tokens(tokens).values)))).squeeze(-2)


class CrossModalTokenTrimmer(nnx.Module):
    """XModal-aware: a token's own importance u, and its part in the interaction with the other side's token y.

    `g = GELU(LN(y) Wg)`, logits `MLP([u ; g ; u * g])`.
    """

    def __init__(self, width: int, other_width: int, shape: TrimmerShape, *, rngs: nnx.Rngs):
        self.norm = layer_norm(width, 1e-6, dtype=jnp.float32, rngs=rngs)
        self.other_norm = layer_norm(other_width, 1e-6, dtype=jnp.float32, rngs=rngs)
        self.up = Linear(width, shape.hidden, rngs=rngs)
        self.guide = Linear(other_width, shape.hidden, rngs=rngs)
        # One linear map of [u ; g ; u * g], in its parts: what depends on y alone is computed once per example.
        self.own = Linear(shape.hidden, shape.hidden, rngs=rngs)
        self.guided = Linear(shape.hidden, shape.hidden, use_bias=False, rngs=rngs)
        self.interaction = Linear(shape.hidden, shape.hidden, use_bias=False, rngs=rngs)
        self.logits = GateLogits(shape.hidden, 1, shape.initial_bias, rngs=rngs)

    def __call__(
        self, tokens: Tokens | Float[Array, "batch tokens width"], other: Float[Array, "batch other"] | None
    ) -> Float[Array, "... 2"]:
        """Scores every token, given the other side's global token.

        Args:
            tokens: The layer's input: tokens in any layout, or an array.
            other: The other side's global token.

        Returns:
            Logits (keep, drop) of every token, laid out like the tokens.

        Raises:
            ConfigError: No global token of the other side.
        """
        if other is None:
            raise ConfigError("a cross-modal token trimmer needs the other side's global token")
        tokens = as_tokens(tokens)
        u = gelu(self.up(self.norm(tokens.values)))
        g = gelu(self.guide(self.other_norm(other)))
        mixed = self.own(u) + tokens.spread(self.guided(g)) + self.interaction(u * tokens.spread(g))
        return self.logits(gelu(mixed)).squeeze(-2)


class HeadTrimmer(nnx.Module):
    """Modal-adaptive: a gate for every head of one attention module, from the global tokens it joins.

    Self-attention joins nothing: its `other_width` is 0.
    """

    def __init__(self, width: int, other_width: int, heads: int, shape: TrimmerShape, *, rngs: nnx.Rngs):
        self.norm = layer_norm(width, 1e-6, dtype=jnp.float32, rngs=rngs)
        self.other_norm = layer_norm(other_width, 1e-6, dtype=jnp.float32, rngs=rngs) if other_width else None
        self.up = Linear(width + other_width, shape.hidden, rngs=rngs)
        self.logits = GateLogits(shape.hidden, heads, shape.initial_bias, rngs=rngs)

    def __call__(
        self, own: Float[Array, "batch width"], other: Float[Array, "batch other"] | None = None
    ) -> Float[Array, "batch heads 2"]:
        """(keep, drop) logits of every head; cross-attention also reads the other global token."""
        context = self.norm(own)
        if self.other_norm is not None:
            context = jnp.concatenate([context, self.other_norm(other)], axis=-1)
        return self.logits(gelu(self.up(context)))
