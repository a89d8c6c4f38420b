"""BLIP models from official PyTorch checkpoints."""

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from smarttrim_jax.errors import CheckpointError, ConfigError
from smarttrim_jax.models.blip import BlipConfig
from smarttrim_jax.models.blip.config import TASKS, Task
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.nn.positions import resize_positions
from smarttrim_jax.pretrained.blip import PARTS, blip_table
from smarttrim_jax.pretrained.blip_config import BlipOverrides, infer_blip_config
from smarttrim_jax.pretrained.parameters import draw, parameter_shapes
from smarttrim_jax.pretrained.sizes import parse_overrides

POSITIONS = "visual_encoder.pos_embed"
ONE_IMAGE = re.compile(r"(.*\.crossattention\.(?:self|output\.dense))(\..*)")
"""Weights of a cross-attention that reads one image."""

SOURCE_WEIGHT = "text_decoder.bert.encoder.layer.{}.crossattention.self.{}.weight"


def from_official_blip(state_dict: Mapping[str, Any], *, task: Task, **overrides: Any) -> tuple[BlipConfig, Params]:
    """A model from the weights of an official BLIP checkpoint, of the same task or from pre-training.

    What belongs to other tasks stays in the file: so do the momentum model and the queues of retrieval, which a new
    training starts from copies of the model and from noise. For NLVR2, weights that know one image alone are taken
    for both, as in the official code.

    Args:
        state_dict: tensors by official name (of torch or numpy, any float type), or the file's whole content, which
            holds them as "model".
        task: what the model shall do.
        **overrides: fields of `BlipOverrides`.

    Returns:
        The configuration, every size read off the weights, and float32 parameters for `Functional`. What the
        checkpoint does not hold (trimmers; NLVR2's head and merging maps; keys and values of an answer decoder that
        was pre-trained on images of another width than questions) starts fresh, drawn from the seed 0.

    Raises:
        CheckpointError: weights of another model, missing, unexpected or misshaped, listed all at once.
        ConfigError: an unknown task or override, or one that does not fit.
    """
    if task not in TASKS:
        raise ConfigError(f"task is '{task}'; a BLIP model's is one of {', '.join(TASKS)}")
    wanted = parse_overrides(BlipOverrides, overrides)
    tensors = dict(state_dict.get("model", state_dict))
    _recognise(tensors)
    tensors = {name: tensor for name, tensor in tensors.items() if not _is_elsewhere(name, task)}
    config = infer_blip_config(tensors, task, wanted)
    tensors = _adapt(tensors, config)

    model, table = Functional(config), blip_table(config)
    shapes = parameter_shapes(model)
    absent = ["trimmers/"]
    if task == "nlvr2" and not any(name.startswith("cls_head.") for name in tensors):
        absent.append("head/")
    if not any(".merge_layer." in name for name in tensors):
        absent.append("text/merge_layers/merge/")
    if task == "vqa" and SOURCE_WEIGHT.format(0, "key") not in tensors:
        absent += [f"decoder/layers/cross_attention/{part}/kernel" for part in ("key", "value")]
    fresh = [path for path in shapes if path.startswith(tuple(absent))]
    loaded = table.read(tensors, {path: shape for path, shape in shapes.items() if path not in fresh})
    params = {path: jnp.asarray(array) for path, array in loaded.items()}
    return config, unflatten_dict(params | draw(model, fresh), sep="/")


def _recognise(tensors: Mapping[str, Any]) -> None:
    if "visual_encoder.patch_embed.proj.weight" not in tensors:
        found = sorted({str(name).split(".")[0] for name in tensors})
        raise CheckpointError(
            "not an official BLIP checkpoint: 'visual_encoder.patch_embed.proj.weight' is missing, "
            f"found weights of {', '.join(found) or 'nothing'}; pass the file's content unchanged"
        )


def _is_elsewhere(name: str, task: Task) -> bool:
    """Whether a weight is of a part that the task's model does not have, but others do."""
    part = str(name).split(".")[0]
    known = {part for parts in PARTS.values() for part in parts}
    momentum = {f"{part}_m" for part in known}
    queues = {"image_queue", "text_queue", "idx_queue", "ptr_queue", "queue_ptr"}
    return part in (known | momentum | queues) - set(PARTS[task])


def _adapt(tensors: dict[str, Any], config: BlipConfig) -> dict[str, Any]:
    """What the official code does to a checkpoint that is meant for other images or another task."""
    table = np.asarray(tensors[POSITIONS], np.float32)
    grid = config.vision.image_size // config.vision.patch_size
    tensors[POSITIONS] = resize_positions(jnp.asarray(table[0]), (grid, grid))[None]
    if config.task == "vqa":
        _leave_other_sources(tensors, config)
    if config.task != "nlvr2":
        return tensors
    both: dict[str, Any] = {}
    for name, tensor in tensors.items():
        one = ONE_IMAGE.fullmatch(name)
        both |= {f"{one[1]}{image}{one[2]}": tensor for image in (0, 1)} if one else {name: tensor}
    return both


def _leave_other_sources(tensors: dict[str, Any], config: BlipConfig) -> None:
    """Takes out what a pre-trained decoder reads images with, where these are not as wide as questions."""
    names = [SOURCE_WEIGHT.format(layer, part) for layer in range(config.text.depth) for part in ("key", "value")]
    widths = {np.shape(tensors[name])[-1] for name in names if name in tensors}
    if widths == {config.vision.width} and config.vision.width != config.text.width:
        for name in names:
            tensors.pop(name, None)
