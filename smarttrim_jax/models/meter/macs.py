"""METER's multiply-adds, as a function of what is kept."""

import dataclasses
from typing import TYPE_CHECKING

import jax.numpy as jnp
from jaxtyping import Array, Float

from smarttrim_jax.models.heads import head_macs
from smarttrim_jax.nn.text import TextConfig
from smarttrim_jax.nn.vision import VisionConfig
from smarttrim_jax.trimming.config import TrimmingConfig
from smarttrim_jax.trimming.gates import GateKey, TrimRecord
from smarttrim_jax.trimming.macs import LayerShape, layer_macs
from smarttrim_jax.trimming.policies import RunTrimming, SideShape

if TYPE_CHECKING:  # the configuration counts its MACs by this
    from smarttrim_jax.models.meter.config import FusionConfig, MeterConfig

IMAGE = GateKey("image", "image")
TEXT = GateKey("text", "text")
FUSED_IMAGE = GateKey("fusion", "image")
FUSED_TEXT = GateKey("fusion", "text")


@dataclasses.dataclass(frozen=True)
class SideOfRun:
    """Sizes of one side of one run of layers, and what is trimmed there.

    Attributes:
        depth: Layers of the run.
        layer: The layers' sizes.
        where: What is trimmed.
        other_widths: Widths of the other sides that its policy may look at.
    """

    depth: int
    layer: LayerShape
    where: RunTrimming
    other_widths: tuple[int, ...] = ()

    @property
    def shape(self) -> SideShape:
        """The side as a policy sees it."""
        return SideShape(self.layer.width, self.layer.heads, self.other_widths)


def sides(config: "MeterConfig") -> dict[GateKey, SideOfRun]:
    """The sides of a METER's runs of layers, by the key of their gates."""
    trimming = config.trimming or TrimmingConfig()
    fusion = config.fusion

    def layer(sizes: "VisionConfig | TextConfig | FusionConfig") -> LayerShape:
        return LayerShape(sizes.width, sizes.heads, sizes.mlp_width)

    fused = SideOfRun(fusion.depth, layer(fusion), trimming.cross_modal, (fusion.width,))
    return {
        IMAGE: SideOfRun(config.vision.depth, layer(config.vision), trimming.image),
        TEXT: SideOfRun(config.text.depth, layer(config.text), trimming.text),
        FUSED_TEXT: fused,
        FUSED_IMAGE: fused,
    }


def meter_macs(config: "MeterConfig", record: TrimRecord, *, trimmed: bool = True) -> Float[Array, " batch"]:
    """MACs of every example, differentiable in the gates.

    Args:
        config: of the model.
        record: of a forward pass; `record.opened()` for the same inputs at full capacity.
        trimmed: count the trimmers, which a full-capacity pass does not run.

    Returns:
        MACs per example, all its images and texts together.
    """
    vision = config.vision
    fusion = config.fusion
    gates = record.gates
    sources = {FUSED_TEXT: gates[FUSED_IMAGE], FUSED_IMAGE: gates[FUSED_TEXT]}
    layers = {}
    for key, side in sides(config).items():
        layers[key] = jnp.sum(layer_macs(gates[key], side.layer, sources.get(key)), axis=0)
        if trimmed and config.trimming is not None:
            entering = _entering(record, key)
            layers[key] += config.trimming.policy.macs(gates[key], entering, side.shape, side.where)

    images = layers[IMAGE].shape[0]
    batch = images // config.images
    patches = (jnp.sum(record.present[IMAGE], axis=-1) - 1) * 3 * vision.patch_size**2 * vision.width
    joined = [
        jnp.sum(gates[IMAGE].tokens[-1], axis=-1) * vision.width * fusion.width,
        jnp.sum(gates[TEXT].tokens[-1], axis=-1) * config.text.width * fusion.width,
    ]
    parts = [*layers.values(), patches, *joined]
    total = jnp.sum(jnp.stack([part.reshape(batch, -1).sum(axis=1) for part in parts]), axis=0)
    poolers = 2 * fusion.width**2 * config.images
    heads = sum(head_macs(head, fusion.width, config.images) for head in config.heads)
    return total + poolers + heads


def _entering(record: TrimRecord, key: GateKey) -> Float[Array, "batch tokens"]:
    """The token gates that a run starts from: the fusion continues where the encoders left off."""
    if key.run != "fusion":
        return record.present[key]
    last = record.gates[GateKey(key.side, key.side)].tokens[-1]
    return jnp.repeat(last, record.present[key].shape[0] // last.shape[0], axis=0)
