"""SmartTrim's own policy: trimmers, trained with the model, decide from the tokens themselves (paper section 3)."""

import dataclasses
from typing import Annotated, Literal, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from smarttrim_jax.ranges import between
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.gates import Gates, Trim, decide_all, fade, open_gates
from smarttrim_jax.trimming.policies.base import (
    Decided,
    LayerContext,
    Policy,
    PolicyConfig,
    RunTrimming,
    SideShape,
    tokens_entering,
)
from smarttrim_jax.trimming.trimmers import CrossModalTokenTrimmer, HeadTrimmer, TokenTrimmer

T = TypeVar("T", bound=Tokens)


Guidance = Literal["cross_modal", "self"]
"""Whether token trimmers of cross-modal layers read the other side's global token, or the token by itself."""

Gate = Literal["gumbel", "noise"]
"""How the gates of tokens are drawn in training."""


@dataclasses.dataclass(frozen=True)
class TrimmersConfig(PolicyConfig):
    """Sizes and initial values of trimmers, which are trained with the model.

    Attributes:
        hidden: Width of the trimmers' hidden layer.
        initial_bias: The logits start at plus and minus this: 2.5 keeps with probability .993.
        guidance: What token trimmers of cross-modal layers read.
        gate: How tokens close in training: "gumbel" samples which (`gates.decide`), "noise" drowns them
            (`gates.fade`). Heads are sampled either way.
    """

    hidden: Annotated[int, between(1, 2**16)] = 64  # the bound is wider than any token
    initial_bias: Annotated[float, between(-40, 40)] = 2.5  # beyond, the sigmoid of keep - drop is 0 or 1 in float32
    guidance: Guidance = "cross_modal"
    gate: Gate = "gumbel"

    @property
    def weighs_tokens(self) -> bool:
        """Whether tokens close in part in training."""
        return self.gate == "noise"

    def build(self, side: SideShape, where: RunTrimming, *, rngs: nnx.Rngs) -> "LearnedPolicy":
        """Builds the trimmers of one side of one layer; see `PolicyConfig.build`."""
        return LearnedPolicy(side, where, self, rngs=rngs)

    def macs(
        self, gates: Gates, entering: Float[Array, "batch tokens"], side: SideShape, where: RunTrimming
    ) -> Float[Array, " batch"]:
        """Counts the MACs of the trimmers; see `PolicyConfig.macs`.

        Token trimmers run on the tokens that the layer before left open, head trimmers once per layer and example.
        """
        layers = gates.tokens.shape[0] - where.first_layer
        total = jnp.zeros(entering.shape[0], jnp.float32)
        if layers <= 0:
            return total
        if where.tokens:
            before = tokens_entering(gates, entering, where)
            per_token = side.width * self.hidden + 2 * self.hidden
            per_example = 0
            if side.other_widths and self.guidance == "cross_modal":
                per_token += 2 * self.hidden * self.hidden
                per_example = sum(side.other_widths) * self.hidden + self.hidden * self.hidden
            total += jnp.sum(before, axis=(0, 2)) * per_token + layers * per_example
        if where.heads and side.heads:
            contexts = [side.width + other for other in (0, *side.other_widths)]
            total += layers * sum(context * self.hidden + 2 * self.hidden * side.heads for context in contexts)
        return total


@dataclasses.dataclass(frozen=True)
class LearnedPolicyConfig(TrimmersConfig):
    """SmartTrim's trimmers.

    Attributes:
        policy: The name of this policy.
    """

    policy: Literal["learned"] = "learned"


@dataclasses.dataclass(frozen=True)
class ImportancePolicyConfig(TrimmersConfig):
    """Trimmers that score each token by itself, in cross-modal layers too: the ablation of the paper.

    Attributes:
        guidance: "self".
        policy: The name of this policy.
    """

    guidance: Literal["self"] = "self"
    policy: Literal["importance"] = "importance"


class LearnedPolicy(Policy):
    """All trimmers of one side of one layer.

    Args:
        side: The side's sizes.
        where: Which trimmers there are.
        config: The trimmers' sizes.
        rngs: Random numbers of the initial weights.
    """

    def __init__(self, side: SideShape, where: RunTrimming, config: TrimmersConfig, *, rngs: nnx.Rngs):
        self.heads = side.heads
        self.sources = len(side.other_widths)
        self.fades = config.gate == "noise"
        token: TokenTrimmer | CrossModalTokenTrimmer | None = None
        if where.tokens and side.other_widths and config.guidance == "cross_modal":
            token = CrossModalTokenTrimmer(side.width, sum(side.other_widths), config, rngs=rngs)
        elif where.tokens:
            token = TokenTrimmer(side.width, config, rngs=rngs)
        self.token = token

        def head(other_width: int) -> HeadTrimmer:
            return HeadTrimmer(side.width, other_width, side.heads, config, rngs=rngs)

        has_heads = where.heads and side.heads > 0
        self.head = head(0) if has_heads else None
        self.cross_head = head(side.other_widths[0]) if has_heads and self.sources > 0 else None
        self.twin_head = head(side.other_widths[1]) if has_heads and self.sources > 1 else None

    def __call__(self, tokens: T, context: LayerContext, trim: Trim, *, key: jax.Array | None = None) -> Decided[T]:
        """Decides by the trimmers' logits; see `Policy.__call__`."""
        others = context.others
        rows = tokens.shape[0]
        own = tokens.global_token
        head_trim = trim.laid_out(rows, lambda offset: offset[:, None])
        logits: dict[str, tuple[Array, Trim]] = {}
        if self.token is not None:
            other = jnp.concatenate(others, axis=-1) if others else None
            logits["tokens"] = self.token(tokens=tokens, other=other), trim.laid_out(rows, tokens.spread)
        if self.head is not None:
            logits["heads"] = self.head(own), head_trim
        if self.cross_head is not None:
            logits["cross_heads"] = self.cross_head(own, others[0]), head_trim
        if self.twin_head is not None:
            logits["twin_heads"] = self.twin_head(own, others[1]), head_trim
        if self.fades and self.token is not None and key is not None:
            key, of_tokens = jax.random.split(key)
            token_logits, token_trim = logits.pop("tokens")
            tokens = fade(token_logits, tokens, token_trim, of_tokens)
        decided = dict(zip(logits, decide_all(list(logits.values()), key), strict=True))
        if "tokens" in decided:
            tokens = tokens.close(decided.pop("tokens"))
        return Decided(tokens, dataclasses.replace(open_gates(tokens, self.heads, sources=self.sources), **decided))
