"""The configuration of an official BLIP checkpoint, read off the names and shapes of its weights."""

import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Any, Literal

from smarttrim_jax.models.blip import BlipConfig
from smarttrim_jax.models.blip.config import BERT, VIT, Task
from smarttrim_jax.nn.folding import Remat
from smarttrim_jax.pretrained.sizes import apply_overrides, default_heads, depth_of, grid_side, shape_of
from smarttrim_jax.tokens import Kernel
from smarttrim_jax.trimming.trimmers import TrimmingConfig


@dataclasses.dataclass(frozen=True)
class BlipOverrides:
    """What weights do not tell, or what shall differ from them; None leaves it as the checkpoint has it.

    Attributes:
        image_size: pixels; the position table is resized.
        vision_heads: attention heads of the image encoder; by default 64 wide.
        text_heads: of the text models; by default 64 wide.
        dropout: of the text models.
        drop_path: stochastic depth of the image encoder.
        first_merge: as in BlipConfig, for weights that know nothing of two images; 6 by default.
        trimming: adds trimmers, which start fresh.
        dtype: as in BlipConfig.
        attention: as in BlipConfig.
        scan: as in BlipConfig.
        remat: as in BlipConfig.
    """

    image_size: int | None = None
    vision_heads: int | None = None
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
    "text_heads": [("text", "heads")],
    "dropout": [("text", "dropout")],
    "drop_path": [("vision", "drop_path")],
}


def infer_blip_config(tensors: Mapping[str, Any], task: Task, overrides: BlipOverrides) -> BlipConfig:
    """Sizes from shapes, then what is overridden.

    Args:
        tensors: of the task's model, by official name.
        task: of the model.
        overrides: what shall differ.

    Raises:
        CheckpointError: a weight that tells a size is missing, or the positions are no square grid.
        ConfigError: an attention width that needs an override, or overrides that do not fit together.
    """
    shape = functools.partial(shape_of, "BLIP", tensors)
    text = "text_decoder.bert" if task == "caption" else "text_encoder"
    block, layer = "visual_encoder.blocks", f"{text}.encoder.layer"
    width, _, patch_size, _ = shape("visual_encoder.patch_embed.proj.weight", 4)
    vocab_size, text_width = shape(f"{text}.embeddings.word_embeddings.weight", 2)
    parts: dict[str, dict[str, Any]] = {
        "vision": {
            "image_size": grid_side(shape("visual_encoder.pos_embed", 3)[1]) * patch_size,
            "patch_size": patch_size,
            "width": width,
            "depth": depth_of(tensors, block),
            "mlp_width": shape(f"{block}.0.mlp.fc1.weight", 2)[0],
        },
        "text": {
            "vocab_size": vocab_size,
            "width": text_width,
            "depth": depth_of(tensors, layer),
            "mlp_width": shape(f"{layer}.0.intermediate.dense.weight", 2)[0],
            "max_positions": shape(f"{text}.embeddings.position_embeddings.weight", 2)[0],
        },
    }
    whole: dict[str, Any] = {"first_merge": _first_merge(tensors, parts["text"]["depth"])}
    if task == "retrieval":
        whole["features"] = shape("vision_proj.weight", 2)[0]
    whole |= apply_overrides(overrides, FIELDS, parts)
    for name, sizes in parts.items():
        sizes["heads"] = sizes.get("heads") or default_heads(name, sizes["width"], f"{name}_heads")
    return BlipConfig(
        task=task,
        vision=dataclasses.replace(VIT, **parts["vision"]),
        text=dataclasses.replace(BERT, **parts["text"]),
        **whole,
    )


def _first_merge(tensors: Mapping[str, Any], layers: int) -> int:
    """The first layer that merges; beside weights of two images that merge nowhere, none."""
    pattern = r"text_encoder\.encoder\.layer\.(\d+)\.crossattention\.output\.merge_layer\.weight"
    merging = [int(match[1]) for match in (re.fullmatch(pattern, name) for name in tensors) if match]
    has_two = any(".crossattention.self1." in name for name in tensors)
    return min(merging, default=layers if has_two else min(6, layers))
