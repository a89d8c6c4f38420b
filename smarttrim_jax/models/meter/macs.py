"""METER's multiply-adds, as a function of what is kept."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.models.heads import head_macs
from smarttrim_jax.models.meter.config import MeterConfig
from smarttrim_jax.trimming.gates import TrimRecord
from smarttrim_jax.trimming.macs import LayerShape, layer_macs, trimmer_macs
from smarttrim_jax.trimming.trimmers import RunTrimming


def meter_macs(config: MeterConfig, record: TrimRecord, *, trimmed: bool = True) -> Float[Array, " batch"]:
    """MACs of every example, differentiable in the gates.

    Args:
        config: of the model.
        record: of a forward pass; `record.opened()` for the same inputs at full capacity.
        trimmed: count the trimmers, which a full-capacity pass does not run.

    Returns:
        MACs per example, all its images and texts together.
    """
    vision, fusion, gates = config.vision, config.fusion, record.gates
    shapes = {
        "image": LayerShape(vision.width, vision.heads, vision.mlp_width),
        "text": LayerShape(config.text.width, config.text.heads, config.text.mlp_width),
        "fusion_text": LayerShape(fusion.width, fusion.heads, fusion.mlp_width),
        "fusion_image": LayerShape(fusion.width, fusion.heads, fusion.mlp_width),
    }
    sources = {"fusion_text": gates["fusion_image"], "fusion_image": gates["fusion_text"]}
    layers = {
        name: jnp.sum(layer_macs(gates[name], shape, sources.get(name)), axis=0) for name, shape in shapes.items()
    }
    trimming = config.trimming
    if trimmed and trimming is not None:
        places: dict[str, RunTrimming] = {
            "image": trimming.image,
            "text": trimming.text,
            "fusion_text": trimming.cross_modal,
            "fusion_image": trimming.cross_modal,
        }
        for name, shape in shapes.items():
            entering = _entering(record, name)
            others = (fusion.width,) if name in sources else ()
            layers[name] += trimmer_macs(gates[name], entering, shape, trimming.trimmers, places[name], others)

    images = layers["image"].shape[0]
    batch = images // config.images
    patches = (jnp.sum(record.present["image"], axis=-1) - 1) * 3 * vision.patch_size**2 * vision.width
    kept = {name: jnp.sum(gates[name].tokens[-1], axis=-1) for name in ("image", "text")}
    joined = {
        "image": kept["image"] * vision.width * fusion.width,
        "text": kept["text"] * config.text.width * fusion.width,
    }
    parts = [*layers.values(), patches, *joined.values()]
    total = jnp.sum(jnp.stack([part.reshape(batch, -1).sum(axis=1) for part in parts]), axis=0)
    poolers = 2 * fusion.width**2 * config.images
    heads = sum(head_macs(head, fusion.width, config.images) for head in config.heads)
    return total + poolers + heads


def _entering(record: TrimRecord, run: str) -> Float[Array, "batch tokens"]:
    """The token gates that a run starts from: the fusion continues where the encoders left off."""
    if not run.startswith("fusion_"):
        return record.present[run]
    last = record.gates[run.removeprefix("fusion_")].tokens[-1]
    return jnp.repeat(last, record.present[run].shape[0] // last.shape[0], axis=0)
