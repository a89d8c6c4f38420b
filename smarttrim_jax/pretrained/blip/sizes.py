"""The configuration of a BLIP checkpoint, read off the names and shapes of its weights."""

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
    """What weights do not tell, or what shall differ from them; None leaves it as the checkpoint has it.

    Attributes:
        image_size: pixels; the position table is resized.
        vision_heads: attention heads of the image encoder; by default 64 wide.
        vision_epsilon: of the image encoder's norms; transformers has 1e-5 by default, the official code 1e-6.
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
    """Sizes from shapes, then what is overridden.

    Args:
        tensors: of the task's model, by name.
        task: of the model.
        overrides: what shall differ.
        naming: whose names these are.
        known: the configuration, where it was written down beside them.
        hub: a config.json of Hugging Face.

    Raises:
        CheckpointError: a weight that tells a size is missing, the positions are no square grid, or the config.json
            tells of a variation that our models do not have.
        ConfigError: an attention width that needs an override, or overrides that do not fit together.
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
    """The fields of both parts, and the others, from names and shapes."""
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
    """The first layer that merges; beside weights of two images that merge nowhere, none."""
    pattern = r"text_encoder\.encoder\.layer\.(\d+)\.crossattention\.output\.merge_layer\.weight"
    merging = [int(match[1]) for match in (re.fullmatch(pattern, name) for name in tensors) if match]
    has_two = any(".crossattention.self1." in name for name in tensors)
    return min(merging, default=layers if has_two else min(6, layers))
