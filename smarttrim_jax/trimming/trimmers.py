"""The trimmers: small networks that decide which tokens and heads a layer can do without (paper section 3)."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Generic, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.configuration import Settings
from smarttrim_jax.nn.layers import gelu, layer_norm
from smarttrim_jax.nn.linear import Linear
from smarttrim_jax.nn.regularization import split_key
from smarttrim_jax.ranges import NonNegativeInt, between
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.gates import Gates, Trim, decide, open_gates

T = TypeVar("T", bound=Tokens)


@dataclasses.dataclass(frozen=True)
class RunTrimming(Settings):
    """What is trimmed in one run of layers, and from which layer on.

    Attributes:
        tokens: Trim tokens.
        heads: Trim attention heads (self- and cross-attention).
        first_layer: The first layer that trims, counted from 0; those before keep everything.
    """

    tokens: bool = True
    heads: bool = True
    first_layer: NonNegativeInt = 0

    def trims(self, depth: int) -> bool:
        """Whether it trims anything in a run of so many layers."""
        return (self.tokens or self.heads) and self.first_layer < depth


@dataclasses.dataclass(frozen=True)
class TrimmerConfig(Settings):
    """The shape of the trimmers.

    Attributes:
        hidden: Width of their hidden layer.
        guidance: In cross-modal layers, "cross_modal" reads the other side's global token, "self" does not.
        initial_bias: The logits start at plus and minus this: 2.5 keeps with probability .993.
    """

    hidden: Annotated[int, between(1, 2**16)] = 64  # wider than any token
    guidance: Literal["cross_modal", "self"] = "cross_modal"
    initial_bias: Annotated[float, between(-40, 40)] = 2.5  # beyond, a sigmoid of the difference is 0 or 1 in float32


@dataclasses.dataclass(frozen=True)
class TrimmingConfig(Settings):
    """The trimming of a vision-language model.

    In its first layer a uni-modal encoder's global token has not read anything yet, hence the defaults.

    Attributes:
        image: Trimming of the image encoder.
        text: Trimming of the text encoder.
        cross_modal: Trimming of the layers where both meet.
        trimmers: Shape of all trimmers.
    """

    image: RunTrimming = RunTrimming(first_layer=1)
    text: RunTrimming = RunTrimming(first_layer=1)
    cross_modal: RunTrimming = RunTrimming()
    trimmers: TrimmerConfig = TrimmerConfig()


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

    def __init__(self, width: int, config: TrimmerConfig, *, rngs: nnx.Rngs):
        self.norm = layer_norm(width, 1e-6, dtype=jnp.float32, rngs=rngs)
        self.up = Linear(width, config.hidden, rngs=rngs)
        self.logits = GateLogits(config.hidden, 1, config.initial_bias, rngs=rngs)

    def __call__(self, tokens: Tokens, other: Float[Array, "batch width"] | None) -> Float[Array, "... 2"]:
        """(keep, drop) logits of every token; `other` is not read."""
        return self.logits(gelu(self.up(self.norm(tokens.values)))).squeeze(-2)


class CrossModalTokenTrimmer(nnx.Module):
    """XModal-aware: a token's own importance u, and its part in the interaction with the other side's token y.

    `g = GELU(LN(y) Wg)`, logits `MLP([u ; g ; u * g])`.
    """

    def __init__(self, width: int, other_width: int, config: TrimmerConfig, *, rngs: nnx.Rngs):
        self.norm = layer_norm(width, 1e-6, dtype=jnp.float32, rngs=rngs)
        self.other_norm = layer_norm(other_width, 1e-6, dtype=jnp.float32, rngs=rngs)
        self.up = Linear(width, config.hidden, rngs=rngs)
        self.guide = Linear(other_width, config.hidden, rngs=rngs)
        # One linear map of [u ; g ; u * g], in its parts: what depends on y alone is computed once per example.
        self.own = Linear(config.hidden, config.hidden, rngs=rngs)
        self.guided = Linear(config.hidden, config.hidden, use_bias=False, rngs=rngs)
        self.interaction = Linear(config.hidden, config.hidden, use_bias=False, rngs=rngs)
        self.logits = GateLogits(config.hidden, 1, config.initial_bias, rngs=rngs)

    def __call__(self, tokens: Tokens, other: Float[Array, "batch other"] | None) -> Float[Array, "... 2"]:
        """(keep, drop) logits of every token, given the other side's global token."""
        if other is None:
            raise ValueError("a cross-modal token trimmer needs the other side's global token")
        u = gelu(self.up(self.norm(tokens.values)))
        g = gelu(self.guide(self.other_norm(other)))
        mixed = self.own(u) + tokens.spread(self.guided(g)) + self.interaction(u * tokens.spread(g))
        return self.logits(gelu(mixed)).squeeze(-2)


class HeadTrimmer(nnx.Module):
    """Modal-adaptive: a gate for every head of one attention module, from the global tokens it joins.

    Self-attention joins nothing: its `other_width` is 0.
    """

    def __init__(self, width: int, other_width: int, heads: int, config: TrimmerConfig, *, rngs: nnx.Rngs):
        self.norm = layer_norm(width, 1e-6, dtype=jnp.float32, rngs=rngs)
        self.other_norm = layer_norm(other_width, 1e-6, dtype=jnp.float32, rngs=rngs) if other_width else None
        self.up = Linear(width + other_width, config.hidden, rngs=rngs)
        self.logits = GateLogits(config.hidden, heads, config.initial_bias, rngs=rngs)

    def __call__(
        self, own: Float[Array, "batch width"], other: Float[Array, "batch other"] | None = None
    ) -> Float[Array, "batch heads 2"]:
        """(keep, drop) logits of every head; cross-attention also reads the other global token."""
        context = self.norm(own)
        if self.other_norm is not None:
            context = jnp.concatenate([context, self.other_norm(other)], axis=-1)
        return self.logits(gelu(self.up(context)))


class Decided(NamedTuple, Generic[T]):
    """What the trimmers of one layer decided.

    Attributes:
        tokens: the layer's input with more tokens closed.
        gates: of the layer.
    """

    tokens: T
    gates: Gates


class LayerTrimmers(nnx.Module):
    """All trimmers of one layer; they decide at its start.

    Args:
        width: of the tokens.
        heads: of the layer's attention modules; 0 for tokens that it only reads.
        other_widths: of the other sides that its cross-attentions join.
        config: their shape.
        trimming: which of them exist.
        rngs: for the initial weights.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        other_widths: tuple[int, ...] = (),
        config: TrimmerConfig,
        trimming: RunTrimming,
        rngs: nnx.Rngs,
    ):
        self.heads, self.sources = heads, len(other_widths)
        token: TokenTrimmer | CrossModalTokenTrimmer | None = None
        if trimming.tokens and other_widths and config.guidance == "cross_modal":
            token = CrossModalTokenTrimmer(width, sum(other_widths), config, rngs=rngs)
        elif trimming.tokens:
            token = TokenTrimmer(width, config, rngs=rngs)
        self.token = token

        def head(other_width: int) -> HeadTrimmer:
            return HeadTrimmer(width, other_width, heads, config, rngs=rngs)

        has_heads = trimming.heads and heads > 0
        self.head = head(0) if has_heads else None
        self.cross_head = head(other_widths[0]) if has_heads and self.sources > 0 else None
        self.twin_head = head(other_widths[1]) if has_heads and self.sources > 1 else None

    def __call__(
        self,
        tokens: T,
        trim: Trim,
        *,
        others: Sequence[Float[Array, "batch other"]] = (),
        key: jax.Array | None = None,
    ) -> Decided[T]:
        """The layer's input with more tokens closed, and the layer's gates.

        Args:
            tokens: the layer's input.
            trim: offset and temperature.
            others: the global tokens of the other sides.
            key: of the Gumbel noise; None decides by the hard threshold.
        """
        keys, rows = split_key(key, 3 + (self.twin_head is not None)), tokens.shape[0]
        own, head_trim = tokens.global_token, trim.laid_out(rows, lambda offset: offset[:, None])
        if self.token is not None:
            other = jnp.concatenate(others, axis=-1) if others else None
            logits = self.token(tokens=tokens, other=other)
            tokens = tokens.close(decide(logits, trim.laid_out(rows, tokens.spread), keys[0]))
        decided = {}
        if self.head is not None:
            decided["heads"] = decide(self.head(own), head_trim, keys[1])
        if self.cross_head is not None:
            decided["cross_heads"] = decide(self.cross_head(own, others[0]), head_trim, keys[2])
        if self.twin_head is not None:
            decided["twin_heads"] = decide(self.twin_head(own, others[1]), head_trim, keys[3])
        return Decided(tokens, dataclasses.replace(open_gates(tokens, self.heads, sources=self.sources), **decided))
