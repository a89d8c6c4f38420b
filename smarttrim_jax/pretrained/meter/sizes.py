"""The configuration of an official METER checkpoint, read off the names and shapes of its weights."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Literal

from smarttrim_jax.configuration import Settings
from smarttrim_jax.models.heads import HeadConfig
from smarttrim_jax.models.meter import FusionConfig, MeterConfig
from smarttrim_jax.nn.layer_stack import Remat
from smarttrim_jax.nn.text import TextConfig
from smarttrim_jax.nn.vision import VisionConfig
from smarttrim_jax.pretrained.meter.table import HEADS, METER
from smarttrim_jax.pretrained.sizes import (
    Parts,
    apply_overrides,
    default_heads,
    depth_of,
    grid_side,
    shape_of,
    written_down,
)
from smarttrim_jax.trimming.config import TrimmingConfig


@dataclasses.dataclass(frozen=True)
class MeterOverrides(Settings):
    """What weights do not tell, or what shall differ from them; None leaves it as the checkpoint has it.

    Attributes:
        image_size: pixels; the position table is resized.
        vision_heads: attention heads of the image encoder; by default 64 wide.
        text_heads: of the text encoder; by default 64 wide.
        fusion_heads: of the fusion; by default 64 wide.
        vocab_size: the tokenizer's, which the checkpoint must have.
        dropout: of text encoder and fusion.
        drop_path: stochastic depth of the image encoder.
        heads: the task heads; those that the checkpoint lacks start fresh, its others are left out.
        images: per example; further token types start as copies of the first image's.
        share_text: as in MeterConfig.
        trimming: adds trimmers, which start fresh.
        dtype: as in MeterConfig.
        scan: as in MeterConfig.
        remat: as in MeterConfig.
    """

    image_size: int | None = None
    vision_heads: int | None = None
    text_heads: int | None = None
    fusion_heads: int | None = None
    vocab_size: int | None = None
    dropout: float | None = None
    drop_path: float | None = None
    heads: tuple[HeadConfig, ...] | None = None
    images: int | None = None
    share_text: bool | None = None
    trimming: TrimmingConfig | None = None
    dtype: Literal["float32", "bfloat16"] | None = None
    scan: bool | None = None
    remat: Remat | None = None


# Which field of which part an override sets; the others are fields of MeterConfig itself.
PARTS = {
    "image_size": [("vision", "image_size")],
    "vision_heads": [("vision", "heads")],
    "text_heads": [("text", "heads")],
    "fusion_heads": [("fusion", "heads")],
    "vocab_size": [("text", "vocab_size")],
    "dropout": [("text", "dropout"), ("fusion", "dropout")],
    "drop_path": [("vision", "drop_path")],
}


def infer_config(
    tensors: Mapping[str, Any], overrides: MeterOverrides, known: MeterConfig | None = None
) -> MeterConfig:
    """Sizes from shapes, heads from the weights present, then what is overridden.

    Args:
        tensors: by official name.
        overrides: what shall differ.
        known: the configuration, where it was written down beside them.

    Raises:
        CheckpointError: a weight that tells a size is missing, or the positions are no square grid.
        ConfigError: an attention width that needs an override, or overrides that do not fit together.
    """
    parts, whole = _read_off(tensors) if known is None else written_down(known, ("vision", "text", "fusion"))
    whole |= apply_overrides(overrides, PARTS, parts)
    for name, sizes in parts.items():
        if "heads" not in sizes:
            sizes["heads"] = default_heads(name, sizes["width"], f"{name}_heads")
    return MeterConfig(
        vision=VisionConfig(**parts["vision"]),
        text=TextConfig(**parts["text"]),
        fusion=FusionConfig(**parts["fusion"]),
        **whole,
    )


def _read_off(tensors: Mapping[str, Any]) -> tuple[Parts, dict[str, Any]]:
    """The fields of the three parts, and the others, from names and shapes."""
    shape = functools.partial(shape_of, METER.family, tensors)
    vision_width, _, patch_size, _ = shape("vit_model.visual.conv1.weight", 4)
    positions, _ = shape("vit_model.visual.positional_embedding", 2)
    vocab_size, text_width = shape("text_transformer.embeddings.word_embeddings.weight", 2)
    fusion_width, _ = shape("cross_modal_text_transform.weight", 2)
    block, layer = "vit_model.visual.transformer.resblocks", "text_transformer.encoder.layer"
    parts: Parts = {
        "vision": {
            "image_size": grid_side(positions) * patch_size,
            "patch_size": patch_size,
            "width": vision_width,
            "depth": depth_of(tensors, block),
            "mlp_width": shape(f"{block}.0.mlp.c_fc.weight", 2)[0],
        },
        "text": {
            "vocab_size": vocab_size,
            "width": text_width,
            "depth": depth_of(tensors, layer),
            "mlp_width": shape(f"{layer}.0.intermediate.dense.weight", 2)[0],
            "max_positions": shape("text_transformer.embeddings.position_embeddings.weight", 2)[0],
            "token_types": shape("text_transformer.embeddings.token_type_embeddings.weight", 2)[0],
        },
        "fusion": {
            "width": fusion_width,
            "depth": depth_of(tensors, "cross_modal_text_layers"),
            "mlp_width": shape("cross_modal_text_layers.0.intermediate.dense.weight", 2)[0],
        },
    }
    whole: dict[str, Any] = {
        "heads": tuple(
            HeadConfig(name, head.kind, shape(head.last, 2)[0])
            for name, head in HEADS.items()
            if head.last in tensors
        ),
        "images": shape("token_type_embeddings.weight", 2)[0] - 1,
    }
    return parts, whole
