"""Infers the configuration of an official METER checkpoint from the names and shapes of its weights."""

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
    """Settings that weights do not tell, or that shall differ from the checkpoint's; None keeps the checkpoint's.

    Attributes:
        image_size: Side of the images in pixels; the position table is resized.
        vision_heads: Attention heads of the image encoder; by default of width 64.
        text_heads: Attention heads of the text encoder; by default of width 64.
        fusion_heads: Attention heads of the fusion; by default of width 64.
        vocab_size: Vocabulary size of the tokenizer; it must be the checkpoint's.
        dropout: Dropout of the text encoder and the fusion.
        drop_path: Stochastic depth of the image encoder.
        heads: The task heads; those that the checkpoint lacks start fresh, and its others are left out.
        images: Images per example; further token types start as copies of the first image's.
        share_text: Whether a text is encoded once for all images; see `MeterConfig`.
        trimming: Adds trimmers, which start fresh.
        dtype: Data type of the computation; see `MeterConfig`.
        scan: Whether layers are scanned over; see `MeterConfig`.
        remat: What the backward pass recomputes; see `MeterConfig`.
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


# The (part, field) pairs that an override sets; other overrides are fields of MeterConfig itself.
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
    """Infers sizes from shapes and heads from the weights present, then applies the overrides.

    Args:
        tensors: Tensors by official name.
        overrides: Settings that shall differ.
        known: The configuration in the file's metadata, which replaces inference; None if there is none.

    Returns:
        The configuration.

    Raises:
        CheckpointError: A weight that tells a size is missing, or the positions are no square grid.
        ConfigError: A width does not divide into heads of 64 and needs an override, or settings do not fit together.
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
    """Reads the fields of the three parts, and the other fields, from names and shapes."""
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
