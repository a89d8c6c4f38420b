"""METER's multiply-adds (MACs), as a function of what is kept."""

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

if TYPE_CHECKING:  # the configuration imports this module
    from smarttrim_jax.models.meter.config import FusionConfig, MeterConfig

IMAGE = GateKey("image", "image")
TEXT = GateKey("text", "text")
FUSED_IMAGE = GateKey("fusion", "image")
FUSED_TEXT = GateKey("fusion", "text")


@dataclasses.dataclass(frozen=True)
class SideOfRun:
    """The sizes of one side of one run of layers, and what is trimmed there.

    Attributes:
        depth: Number of layers of the run.
        layer: Sizes of the layers.
        where: What is trimmed, and from which layer on.
        other_widths: Widths of the other sides that the side's policy may look at.
    """

    depth: int
    layer: LayerShape
    where: RunTrimming
    other_widths: tuple[int, ...] = ()

    @property
    def shape(self) -> SideShape:
        """The sizes of the side that its policy needs."""
        return SideShape(self.layer.width, self.layer.heads, self.other_widths)


def sides(config: "MeterConfig") -> dict[GateKey, SideOfRun]:
    """Lists the sides of all runs of layers of a METER.

    Args:
        config: Configuration of the model.

    Returns:
        The sizes of each side by the key of its gates.
    """
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
    """Counts the MACs of each example, differentiable in the gates.

    Args:
        config: Configuration of the model.
        record: The gates of a forward pass; `record.opened()` for the same inputs at full capacity.
        trimmed: Whether to count the trimmers, which a full-capacity pass does not run.

    Returns:
        MACs of each example, `[batch]`, all its images and texts together.
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
    """The token gates at the start of a run; those of the fusion are the last ones of the encoders."""
    if key.run != "fusion":
        return record.present[key]
    last = record.gates[GateKey(key.side, key.side)].tokens[-1]
    return jnp.repeat(last, record.present[key].shape[0] // last.shape[0], axis=0)
