"""One layer of each of METER's runs, with its trimmers."""

from typing import Any, TypeVar

import jax
from flax import nnx
from jaxtyping import Array

from smarttrim_jax.models.meter.config import MeterConfig
from smarttrim_jax.models.segments import GatesByRun, State
from smarttrim_jax.nn.folding import stack
from smarttrim_jax.nn.layers import PostNormLayer
from smarttrim_jax.nn.regularization import split_key
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.gates import Gates, Trim, open_gates
from smarttrim_jax.trimming.trimmers import LayerTrimmers, RunTrimming, TrimmingConfig

T = TypeVar("T", bound=Tokens)


def make_trimmers(config: MeterConfig, trimming: TrimmingConfig, rngs: nnx.Rngs) -> dict[str, nnx.Module]:
    """The stacked trimmers of every run that trims anything, by the run's name."""

    def make(sizes: Any, where: RunTrimming, *, cross: bool = False) -> nnx.Module | None:
        depth = sizes.depth - where.first_layer
        if depth <= 0 or not (where.tokens or where.heads):
            return None
        return stack(
            lambda rngs: LayerTrimmers(
                sizes.width, sizes.heads, cross=cross, config=trimming.trimmers, trimming=where, rngs=rngs
            ),
            depth,
            rngs,
        )

    runs = {
        "image": make(config.vision, trimming.image),
        "text": make(config.text, trimming.text),
        "fusion_text": make(config.fusion, trimming.cross_modal, cross=True),
        "fusion_image": make(config.fusion, trimming.cross_modal, cross=True),
    }
    return {name: trimmers for name, trimmers in runs.items() if trimmers is not None}


def encoder_step(
    side: str,
    layer: Any,
    trimmers: LayerTrimmers | None,
    state: State,
    trim: Trim,
    key: jax.Array | None,
    **inputs: Array,
) -> tuple[State, GatesByRun]:
    """One layer of the image or text encoder.

    Args:
        side: "image" or "text".
        layer: with self-attention only.
        trimmers: of this layer, or None.
        state: the model's state.
        trim: how the trimmers decide.
        key: None for evaluation.
        **inputs: what else the layer takes.
    """
    keys = split_key(key, 2)
    tokens, gates = _decide(trimmers, state[side], layer.attention.heads, trim, keys[0])
    tokens = layer(tokens, head_gate=gates.heads, key=keys[1], **inputs)
    return state | {side: tokens}, {side: gates}


def fusion_step(
    layers: dict[str, PostNormLayer],
    trimmers: dict[str, LayerTrimmers] | None,
    state: State,
    trim: Trim,
    key: jax.Array | None,
) -> tuple[State, GatesByRun]:
    """One layer of both sides in lock-step: both decide, then both read the other's previous state."""
    keys = split_key(key, 4)
    image, text = state["image"], state["text"]
    guides = trimmers or {}

    def decide(side: str, tokens: Tokens, other: Tokens, key: jax.Array | None) -> tuple[Tokens, Gates]:
        heads = layers[side].attention.heads
        return _decide(guides.get(side), tokens, heads, trim, key, other=other.global_token)

    def apply(side: str, tokens: Tokens, source: Tokens, gates: Gates, key: jax.Array | None) -> Tokens:
        return layers[side](tokens, source, head_gate=gates.heads, cross_head_gate=gates.cross_heads, key=key)

    open_text, text_gates = decide("fusion_text", text, image, keys[0])
    open_image, image_gates = decide("fusion_image", image, text, keys[1])
    state = {
        "text": apply("fusion_text", open_text, open_image, text_gates, keys[2]),
        "image": apply("fusion_image", open_image, open_text, image_gates, keys[3]),
    }
    return state, {"fusion_text": text_gates, "fusion_image": image_gates}


def _decide(
    trimmers: LayerTrimmers | None,
    tokens: T,
    heads: int,
    trim: Trim,
    key: jax.Array | None,
    *,
    other: Array | None = None,
) -> tuple[T, Gates]:
    """The trimmers' gates, or open ones where a layer has none."""
    if trimmers is None:
        return tokens, open_gates(tokens, heads, cross=other is not None)
    return trimmers(tokens, trim, other=other, key=key)
