"""METER's trimmers, and one layer of its fusion: what it closes, then what it computes."""

import jax
from flax import nnx

from smarttrim_jax.models.layers import decide_side, existing, stack_trimmers
from smarttrim_jax.models.meter.config import MeterConfig
from smarttrim_jax.models.segments import GatesByRun, State
from smarttrim_jax.nn.layers import PostNormLayer
from smarttrim_jax.nn.regularization import split_key
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.gates import Gates, Trim
from smarttrim_jax.trimming.trimmers import LayerTrimmers, TrimmingConfig


def make_trimmers(config: MeterConfig, trimming: TrimmingConfig, rngs: nnx.Rngs) -> dict[str, nnx.Module]:
    """The stacked trimmers of every run that trims anything, by the name of their gates."""
    vision, text, fusion, shape = config.vision, config.text, config.fusion, trimming.trimmers
    fused = (fusion.width, fusion.heads, fusion.depth, trimming.cross_modal, shape, rngs)
    return existing(
        {
            "image": stack_trimmers(vision.width, vision.heads, vision.depth, trimming.image, shape, rngs),
            "text": stack_trimmers(text.width, text.heads, text.depth, trimming.text, shape, rngs),
            "fusion_text": stack_trimmers(*fused, other_widths=(fusion.width,)),
            "fusion_image": stack_trimmers(*fused, other_widths=(fusion.width,)),
        }
    )


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
        return decide_side(guides.get(name), tokens, heads, trim, key, others=(other.global_token,))

    open_text, text_gates = decide("fusion_text", text, image, keys[0])
    open_image, image_gates = decide("fusion_image", image, text, keys[1])
    return {"text": open_text, "image": open_image}, {"fusion_text": text_gates, "fusion_image": image_gates}


def fusion_layer(layers: dict[str, PostNormLayer], state: State, gates: GatesByRun, key: jax.Array | None) -> State:
    """One layer of both sides in lock-step, each reading the other's previous state."""
    keys = split_key(key, 4)

    def compute(name: str, tokens: Tokens, source: Tokens, key: jax.Array | None) -> Tokens:
        gate = gates[name]
        return layers[name](
            tokens=tokens, source=source, head_gate=gate.heads, cross_head_gate=gate.cross_heads, key=key
        )

    return {
        "text": compute("fusion_text", state["text"], state["image"], keys[2]),
        "image": compute("fusion_image", state["image"], state["text"], keys[3]),
    }
