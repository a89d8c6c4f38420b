"""Infers the configuration of a BLIP checkpoint from the names and shapes of its weights."""

import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Any, Literal

from smarttrim_jax.configuration import Settings
from smarttrim_jax.models.blip import BlipConfig
from smarttrim_jax.models.blip.config import BERT, VIT, TaskName
from smarttrim_jax.nn.layer_stack import Remat
from smarttrim_jax.nn.text import TextConfig
from smarttrim_jax.nn.vision import VisionConfig
from smarttrim_jax.pretrained.blip.table import OFFICIAL, Naming
from smarttrim_jax.pretrained.hub import blip_traits
from smarttrim_jax.pretrained.sizes import (
    Parts,
    apply_overrides,
    default_heads,
    depth_of,
    grid_side,
    shape_of,
    written_down,
)
from smarttrim_jax.tokens import Kernel
from smarttrim_jax.trimming.config import TrimmingConfig


@dataclasses.dataclass(frozen=True)
class BlipOverrides(Settings):
    """Settings that weights do not tell, or that shall differ from the checkpoint's; None keeps the checkpoint's.

    Attributes:
        image_size: Side of the images in pixels; the position table is resized.
        vision_heads: Attention heads of the image encoder; by default of width 64.
        vision_epsilon: Epsilon of the image encoder's norms; transformers has 1e-5 by default, the official code
            1e-6.
        text_heads: Attention heads of the text models; by default of width 64.
        dropout: Dropout of the text models.
        drop_path: Stochastic depth of the image encoder.
        first_merge: See `BlipConfig`; for weights of models that read a single image, 6 by default.
        trimming: Adds trimmers, which start fresh.
        dtype: Data type of the computation; see `BlipConfig`.
        attention: Attention kernel of training and evaluation; see `BlipConfig`.
        scan: Whether layers are scanned over; see `BlipConfig`.
        remat: What the backward pass recomputes; see `BlipConfig`.
    """

    image_size: int | None = None
    vision_heads: int | None = None
    vision_epsilon: float | None = None
    text_heads: int | None = None
    dropout: float | None = None
    drop_path: float | None = None
    first_merge: int | None = None
    trimming: TrimmingConfig | None = None
    dtype: Literal["float32", "bfloat16"] | None = None
    attention: Kernel | None = None
    scan: bool | None = None
    remat: Remat | None = None


FIELDS = {
    "image_size": [("vision", "image_size")],
    "vision_heads": [("vision", "heads")],
    "vision_epsilon": [("vision", "epsilon")],
    "text_heads": [("text", "heads")],
    "dropout": [("text", "dropout")],
    "drop_path": [("vision", "drop_path")],
}


def infer_blip_config(
    tensors: Mapping[str, Any],
    task: TaskName,
    overrides: BlipOverrides,
    naming: Naming = OFFICIAL,
    *,
    known: BlipConfig | None = None,
    hub: Mapping[str, Any] | None = None,
) -> BlipConfig:
    """Infers the configuration from shapes, then applies the overrides.

    Args:
        tensors: Tensors of the task's model, by name.
        task: Task of the model.
        overrides: Settings that shall differ.
        naming: The family of names.
        known: The configuration in the file's metadata, which replaces inference; None if there is none.
        hub: The content of Hugging Face's config.json; None if there is none.

    Returns:
        The configuration.

    Raises:
        CheckpointError: A weight that tells a size is missing, the positions are no square grid, or the config.json
            tells of a variation that our models do not have.
        ConfigError: A width does not divide into heads of 64 and needs an override, or settings do not fit together.
    """
    if known is None:
        parts, whole = _read_off(tensors, task, naming)
        for name, traits in blip_traits(hub or {}).items():
            parts[name] |= traits
    else:
        parts, whole = written_down(known, ("vision", "text"))
    whole |= apply_overrides(overrides, FIELDS, parts)
    for name, sizes in parts.items():
        sizes["heads"] = sizes.get("heads") or default_heads(name, sizes["width"], f"{name}_heads")
    vision, text = VisionConfig(**parts["vision"]), TextConfig(**parts["text"])
    return BlipConfig(**whole | {"task": task, "vision": vision, "text": text})


def _read_off(tensors: Mapping[str, Any], task: TaskName, naming: Naming) -> tuple[Parts, dict[str, Any]]:
    """Reads the fields of both parts, and the other fields, from names and shapes."""
    shape = functools.partial(shape_of, naming.family, tensors)
    text = "text_decoder.bert" if task == "caption" else "text_encoder"
    blocks, layer = naming.of_vision(naming.block).removesuffix(".{layer}"), f"{text}.encoder.layer"
    width, _, patch_size, _ = shape(naming.of_vision(f"{naming.patches}.weight"), 4)
    vocab_size, text_width = shape(f"{text}.embeddings.word_embeddings.weight", 2)
    vision: dict[str, Any] = {
        "image_size": grid_side(shape(naming.of_vision(naming.positions), 3)[1]) * patch_size,
        "patch_size": patch_size,
        "width": width,
        "depth": depth_of(tensors, blocks),
        "mlp_width": shape(f"{blocks}.0.mlp.fc1.weight", 2)[0],
        "heads": None,
    }
    words: dict[str, Any] = {
        "vocab_size": vocab_size,
        "width": text_width,
        "depth": depth_of(tensors, layer),
        "mlp_width": shape(f"{layer}.0.intermediate.dense.weight", 2)[0],
        "max_positions": shape(f"{text}.embeddings.position_embeddings.weight", 2)[0],
        "heads": None,
    }
    whole: dict[str, Any] = {"first_merge": _first_merge(tensors, words["depth"])}
    if task == "retrieval":
        whole["features"] = shape("vision_proj.weight", 2)[0]
    return {"vision": {**vars(VIT), **vision}, "text": {**vars(BERT), **words}}, whole


def _first_merge(tensors: Mapping[str, Any], layers: int) -> int:
    """The first layer that merges; the depth for weights of two images that merge nowhere."""
    pattern = r"text_encoder\.encoder\.layer\.(\d+)\.crossattention\.output\.merge_layer\.weight"
    merging = [int(match[1]) for match in (re.fullmatch(pattern, name) for name in tensors) if match]
    has_two = any(".crossattention.self1." in name for name in tensors)
    return min(merging, default=layers if has_two else min(6, layers))
