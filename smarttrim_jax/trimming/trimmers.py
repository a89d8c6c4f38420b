"""The trimmers: small networks that score the tokens and heads of a layer (paper section 3)."""

from typing import Protocol

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.nn.layers import gelu, layer_norm
from smarttrim_jax.nn.primitives import Linear
from smarttrim_jax.tokens import Tokens, as_tokens


class TrimmerShape(Protocol):
    """The part of a policy's configuration that sets the trimmers' size."""

    @property
    def hidden(self) -> int:
        """The width of the trimmers' hidden layer."""

    @property
    def initial_bias(self) -> float:
        """The initial bias: keep logits start at plus this number, drop logits at minus this number."""


class GateLogits(nnx.Module):
    """The last layer of a trimmer: logits (keep, drop) that initially keep everything.

    Args:
        hidden: Width of the input.
        decisions: Number of decisions.
        initial_bias: Initial keep logit; the drop logit starts at its negative.
        rngs: Random numbers of the initial weights.
    """

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
        """Computes both logits of each decision.

        Args:
            hidden: `[..., hidden]`.

        Returns:
            `[..., decisions, 2]`.
        """
        logits = self.projection(hidden)
        return logits.reshape(*logits.shape[:-1], -1, 2)


class TokenTrimmer(nnx.Module):
    """Scores tokens of an encoder from the token itself: `u = GELU(LN(X) W1)`, logits `u W2 + b`.

    Args:
        width: Width of the tokens.
        shape: Sizes of the trimmer.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, width: int, shape: TrimmerShape, *, rngs: nnx.Rngs):
        self.norm = layer_norm(width, 1e-6, dtype=jnp.float32, rngs=rngs)
        self.up = Linear(width, shape.hidden, rngs=rngs)
        self.logits = GateLogits(shape.hidden, 1, shape.initial_bias, rngs=rngs)

    def __call__(
        self,
        tokens: Tokens | Float[Array, "batch tokens width"],
        other: Float[Array, "batch width"] | None = None,
    ) -> Float[Array, "... 2"]:
        """Scores each token.

        Args:
            tokens: The layer's input: tokens in any layout, or an array `[batch, tokens, width]`.
            other: Not used; `CrossModalTokenTrimmer`, which has the same signature, uses it.

        Returns:
            Logits (keep, drop) of each token, laid out like the tokens, `[..., 2]`.
        """
        return self.logits(gelu(self.up(self.norm(as_tokens(tokens).values)))).squeeze(-2)


class CrossModalTokenTrimmer(nnx.Module):
    """XModal-aware scores: a token's own importance u, and its interaction with the other side's global token y.

    `g = GELU(LN(y) Wg)`, logits `MLP([u ; g ; u * g])`.

    Args:
        width: Width of the tokens.
        other_width: Width of the other side's global token.
        shape: Sizes of the trimmer.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, width: int, other_width: int, shape: TrimmerShape, *, rngs: nnx.Rngs):
        self.norm = layer_norm(width, 1e-6, dtype=jnp.float32, rngs=rngs)
        self.other_norm = layer_norm(other_width, 1e-6, dtype=jnp.float32, rngs=rngs)
        self.up = Linear(width, shape.hidden, rngs=rngs)
        self.guide = Linear(other_width, shape.hidden, rngs=rngs)
        # One linear map of [u ; g ; u * g], split by input: the part of g alone is computed once per example.
        self.own = Linear(shape.hidden, shape.hidden, rngs=rngs)
        self.guided = Linear(shape.hidden, shape.hidden, use_bias=False, rngs=rngs)
        self.interaction = Linear(shape.hidden, shape.hidden, use_bias=False, rngs=rngs)
        self.logits = GateLogits(shape.hidden, 1, shape.initial_bias, rngs=rngs)

    def __call__(
        self, tokens: Tokens | Float[Array, "batch tokens width"], other: Float[Array, "batch other"] | None
    ) -> Float[Array, "... 2"]:
        """Scores each token, given the other side's global token.

        Args:
            tokens: The layer's input: tokens in any layout, or an array `[batch, tokens, width]`.
            other: The other side's global token, `[batch, other_width]`; several are concatenated.

        Returns:
            Logits (keep, drop) of each token, laid out like the tokens, `[..., 2]`.

        Raises:
            ConfigError: `other` is None.
        """
        if other is None:
            raise ConfigError("a cross-modal token trimmer needs the other side's global token")
        tokens = as_tokens(tokens)
        u = gelu(self.up(self.norm(tokens.values)))
        g = gelu(self.guide(self.other_norm(other)))
        mixed = self.own(u) + tokens.spread(self.guided(g)) + self.interaction(u * tokens.spread(g))
        return self.logits(gelu(mixed)).squeeze(-2)


class HeadTrimmer(nnx.Module):
    """Modal-adaptive scores of the heads of one attention module, from the global tokens of the sides that it joins.

    Args:
        width: Width of the layer's own tokens.
        other_width: Width of the tokens that cross-attention reads; 0 for self-attention.
        heads: Number of heads.
        shape: Sizes of the trimmer.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, width: int, other_width: int, heads: int, shape: TrimmerShape, *, rngs: nnx.Rngs):
        self.norm = layer_norm(width, 1e-6, dtype=jnp.float32, rngs=rngs)
        self.other_norm = layer_norm(other_width, 1e-6, dtype=jnp.float32, rngs=rngs) if other_width else None
        self.up = Linear(width + other_width, shape.hidden, rngs=rngs)
        self.logits = GateLogits(shape.hidden, heads, shape.initial_bias, rngs=rngs)

    def __call__(
        self, own: Float[Array, "batch width"], other: Float[Array, "batch other"] | None = None
    ) -> Float[Array, "batch heads 2"]:
        """Scores each head.

        Args:
            own: Global token of the layer's own side, `[batch, width]`.
            other: Global token of the side that cross-attention reads, `[batch, other_width]`; not used by
                self-attention.

        Returns:
            Logits (keep, drop) of each head, `[batch, heads, 2]`.
        """
        context = self.norm(own)
        if self.other_norm is not None:
            context = jnp.concatenate([context, self.other_norm(other)], axis=-1)
        return self.logits(gelu(self.up(context)))
