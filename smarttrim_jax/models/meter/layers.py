"""One layer of each of METER's runs: what it closes, then what it computes."""

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


def encoder_decide(
    side: str,
    heads: int,
    trimmers: LayerTrimmers | None,
    state: State,
    trim: Trim,
    key: jax.Array | None,
) -> tuple[State, GatesByRun]:
    """What one layer of the image or text encoder closes.

    Args:
        side: "image" or "text".
        heads: of its attention.
        trimmers: of this layer, or None.
        state: the model's state.
        trim: how the trimmers decide.
        key: None for evaluation.
    """
    tokens, gates = _decide(trimmers, state[side], heads, trim, split_key(key, 2)[0])
    return state | {side: tokens}, {side: gates}


def encoder_layer(
    side: str, layer: Any, state: State, gates: GatesByRun, key: jax.Array | None, **inputs: Array
) -> State:
    """One layer of the image or text encoder, with the gates it decided on; `inputs` are what else it takes."""
    tokens = layer(state[side], head_gate=gates[side].heads, key=split_key(key, 2)[1], **inputs)
    return state | {side: tokens}


def fusion_decide(
    heads: int,
    trimmers: dict[str, LayerTrimmers] | None,
    state: State,
    trim: Trim,
    key: jax.Array | None,
) -> tuple[State, GatesByRun]:
    """What one fusion layer closes on both sides, each guided by the other's global token."""
    keys, guides = split_key(key, 4), trimmers or {}
    image, text = state["image"], state["text"]

    def decide(name: str, tokens: Tokens, other: Tokens, key: jax.Array | None) -> tuple[Tokens, Gates]:
        return _decide(guides.get(name), tokens, heads, trim, key, other=other.global_token)

    open_text, text_gates = decide("fusion_text", text, image, keys[0])
    open_image, image_gates = decide("fusion_image", image, text, keys[1])
    return {"text": open_text, "image": open_image}, {"fusion_text": text_gates, "fusion_image": image_gates}


def fusion_layer(layers: dict[str, PostNormLayer], state: State, gates: GatesByRun, key: jax.Array | None) -> State:
    """One layer of both sides in lock-step, each reading the other's previous state."""
    keys = split_key(key, 4)

    def compute(name: str, tokens: Tokens, source: Tokens, key: jax.Array | None) -> Tokens:
        gate = gates[name]
        return layers[name](tokens, source, head_gate=gate.heads, cross_head_gate=gate.cross_heads, key=key)

    return {
        "text": compute("fusion_text", state["text"], state["image"], keys[2]),
        "image": compute("fusion_image", state["image"], state["text"], keys[3]),
    }


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
