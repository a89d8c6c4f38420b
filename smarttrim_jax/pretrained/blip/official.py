"""BLIP models from PyTorch checkpoints by the official code's names or Hugging Face's, and back."""

import logging
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from smarttrim_jax.errors import CheckpointError, ConfigError
from smarttrim_jax.models.blip import BlipConfig
from smarttrim_jax.models.blip.config import TASKS, TaskName
from smarttrim_jax.models.functional import Functional, Params, draw, parameter_shapes
from smarttrim_jax.nn.positions import resize_positions
from smarttrim_jax.pretrained.blip.sizes import BlipOverrides, infer_blip_config
from smarttrim_jax.pretrained.blip.table import HUGGING_FACE, OFFICIAL, TIED, Naming, blip_table
from smarttrim_jax.pretrained.hub import Hub
from smarttrim_jax.pretrained.sizes import parse_overrides
from smarttrim_jax.pretrained.weight_table import Shape, as_float32
from smarttrim_jax.pretrained.wrapping import unwrapped

TRIMMERS = "trimmers/"
ONE_IMAGE = re.compile(r"(.*\.crossattention\.(?:self|output\.dense))(\..*)")
"""Weights of a cross-attention that reads one image."""

SOURCE_WEIGHT = "text_decoder.bert.encoder.layer.{}.crossattention.self.{}.weight"
_log = logging.getLogger(__name__)

FRESH_PARTS = {"cls_head", "temp"}
"""What a checkpoint may lack, and a model starts with anew."""
# What a checkpoint decides; image sizes, dropout and the rest can differ.
SIZES = {
    "vision": ("patch_size", "width", "depth", "mlp_width"),
    "text": ("vocab_size", "width", "depth", "mlp_width", "max_positions"),
}


def from_official_blip(
    state_dict: Mapping[str, Any], *, task: TaskName | None = None, **overrides: Any
) -> tuple[BlipConfig, Params]:
    """A model from the weights of a BLIP checkpoint, of the same task or from pre-training.

    What belongs to other tasks stays in the file: so do the momentum model and the queues of retrieval, which a new
    training starts from copies of the model and from noise. For NLVR2, weights that know one image alone are taken
    for both, as in the official code.

    Args:
        state_dict: tensors by the official code's names or by those of Hugging Face's BlipForQuestionAnswering,
            BlipForConditionalGeneration and BlipForImageTextRetrieval (of torch or numpy, any float type), or the
            file's whole content, which holds them as "model".
        task: what the model shall do; by default what a fine-tuned checkpoint does.
        **overrides: fields of `BlipOverrides`. Names and shapes do not tell that transformers computes with other
            settings than the official code (`vision_epsilon`); `read_blip` reads its config.json too.

    Returns:
        The configuration, every size read off the weights, and float32 parameters for `Functional`. What the
        checkpoint does not hold (trimmers; NLVR2's head and merging maps; Hugging Face's temperature of retrieval;
        another's that was left out; keys and values of an answer decoder that was pre-trained on images of another
        width than questions) starts fresh, drawn from the seed 0.

    Raises:
        CheckpointError: weights of another model or task, missing, unexpected or misshaped, listed all at once.
        ConfigError: an unknown task or override, or one that does not fit.
    """
    return new_blip(blip_weights(state_dict), task, overrides)


def new_blip(
    tensors: Mapping[str, Any],
    task: TaskName | None,
    overrides: Mapping[str, Any],
    *,
    known: BlipConfig | None = None,
    hub: Hub | None = None,
) -> tuple[BlipConfig, Params]:
    """The same, with what lies beside the tensors: `known` and `hub` as in `infer_blip_config`."""
    wanted, naming = parse_overrides(BlipOverrides, overrides), naming_of(tensors)
    task = _check_task(tensors, task, naming)
    own = _own(tensors, task, naming)
    config = infer_blip_config(own, task, wanted, naming, known=known, hub=hub)
    model = Functional(config)
    loaded, fresh = _load(own, config, naming, parameter_shapes(model))
    return config, unflatten_dict(loaded | draw(model, fresh), sep="/")


def fill_blip(config: BlipConfig, params: Params, tensors: Mapping[str, Any]) -> Params:
    """Parameters of a given model, from the tensors of a checkpoint.

    Args:
        config: of the model; positions are resized to its images.
        params: of the model; those that the checkpoint does not hold (trimmers, for example) stay.
        tensors: by name.

    Raises:
        CheckpointError: a checkpoint of other sizes, another task or another model, with everything that differs.
    """
    naming = naming_of(tensors)
    own = _own(tensors, _check_task(tensors, config.task, naming), naming)
    heads = BlipOverrides(
        vision_heads=config.vision.heads, text_heads=config.text.heads, first_merge=config.first_merge
    )
    found = infer_blip_config(own, config.task, heads, naming)
    different = [
        f"{part}.{size} is {theirs}, not {ours}"
        for part, sizes in SIZES.items()
        for size in sizes
        if (theirs := getattr(getattr(found, part), size)) != (ours := getattr(getattr(config, part), size))
    ]
    if config.task == "retrieval" and found.features != config.features:
        different.append(f"features is {found.features}, not {config.features}")
    if different:
        raise CheckpointError(
            f"these {naming.family} weights are of another model: {'; '.join(different)}; "
            "use the model's sizes of the checkpoint, or another checkpoint"
        )
    flat = flatten_dict(params, sep="/")
    loaded, _ = _load(own, config, naming, {path: np.shape(leaf) for path, leaf in flat.items()})
    return unflatten_dict(flat | loaded, sep="/")


def to_blip(
    config: BlipConfig, params: Params, naming: Naming = OFFICIAL
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """A model's parameters under a family's names: the inverse of `from_official_blip`.

    Returns:
        The tensors by name, and by their paths the parameters that have none there, such as trimmers.

    Raises:
        CheckpointError: parameters that the family's models do not have.
        ConfigError: a model of which the family has no counterpart.
    """
    if config.task not in naming.parts:
        raise ConfigError(
            f"{naming.family} has no model for '{config.task}', only for {', '.join(naming.parts)}; "
            "write it under the official names"
        )
    if naming is HUGGING_FACE and config.task == "vqa" and config.vision.width != config.text.width:
        raise ConfigError(
            f"transformers' BlipForQuestionAnswering needs image and text of one width, but these are "
            f"{config.vision.width} and {config.text.width} wide; write it under the official names"
        )
    flat = {path: np.asarray(leaf) for path, leaf in flatten_dict(params, sep="/").items()}
    beside = {path: leaf for path, leaf in flat.items() if path.startswith((TRIMMERS, *naming.nameless))}
    table = blip_table(config, naming)
    return table.write({path: leaf for path, leaf in flat.items() if path not in beside}), beside


def blip_weights(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a checkpoint by name, tied ones by the name of either."""
    tensors = unwrapped(state_dict)
    return {origin: tensors[copy] for copy, origin in TIED.items() if copy in tensors} | tensors


def naming_of(tensors: Mapping[str, Any]) -> Naming:
    """Whose names these are.

    Raises:
        CheckpointError: nobody's.
    """
    landmarks = {f"{naming.of_vision(naming.patches)}.weight": naming for naming in (OFFICIAL, HUGGING_FACE)}
    for name, naming in landmarks.items():
        if name in tensors:
            return naming
    missing = " and ".join(f"'{name}'" for name in landmarks)
    raise CheckpointError(
        f"not an official BLIP checkpoint, nor Hugging Face's: {missing} are missing, "
        f"found weights of {', '.join(_words(tensors)) or 'nothing'}; pass the file's content unchanged"
    )


def _check_task(tensors: Mapping[str, Any], task: TaskName | None, naming: Naming) -> TaskName:
    """The task that the weights shall serve, if they can.

    Raises:
        CheckpointError: they are of another task, or of no BLIP.
        ConfigError: an unknown task, or none where the weights do not tell it.
    """
    if task is not None and task not in TASKS:
        raise ConfigError(f"task is '{task}'; a BLIP model's is one of {', '.join(TASKS)}")
    words = set(_words(tensors))
    held = words & {part for parts in naming.parts.values() for part in parts}
    tuned = next((name for name, parts in naming.parts.items() if held | {"temp"} == {*parts, "temp"}), None)
    if task is None:
        if tuned is None:
            raise ConfigError(
                f"these {naming.family} weights are not of one task; say which 'task': {', '.join(naming.parts)}"
            )
        return tuned
    if tuned not in (None, task):
        raise CheckpointError(
            f"these {naming.family} weights are of another task: {', '.join(sorted(held))} make a model for "
            f"'{tuned}', not for '{task}'; use a checkpoint of that task or of pre-training"
        )
    lacking = [part for part in naming.parts.get(task, ()) if part not in held | FRESH_PARTS]
    if lacking or task not in naming.parts:
        raise CheckpointError(
            f"these {naming.family} weights make no model for '{task}': {', '.join(lacking) or 'it'} is missing, "
            f"found weights of {', '.join(sorted(words))}; use a checkpoint of that task or of pre-training"
        )
    return task


def _own(tensors: Mapping[str, Any], task: TaskName, naming: Naming) -> dict[str, Any]:
    """Without the parts that the task's model does not have, but others do."""
    known = {part for parts in naming.parts.values() for part in parts}
    momentum = {f"{part}_m" for part in known}
    queues = {"image_queue", "text_queue", "idx_queue", "ptr_queue", "queue_ptr"}
    elsewhere = (known | momentum | queues) - set(naming.parts[task])
    return {name: tensor for name, tensor in tensors.items() if str(name).split(".")[0] not in elsewhere}


def _load(
    tensors: dict[str, Any], config: BlipConfig, naming: Naming, shapes: Mapping[str, Shape]
) -> tuple[dict[str, jax.Array], list[str]]:
    """The parameters that the checkpoint holds, and the paths of the model's others."""
    tensors = _adapt(tensors, config, naming)
    absent = [TRIMMERS, *naming.nameless]
    if config.task == "nlvr2" and not any(name.startswith("cls_head.") for name in tensors):
        absent.append("head/")
    if not any(".merge_layer." in name for name in tensors):
        absent.append("text/merge_layers/merge/")
    if config.task == "vqa" and SOURCE_WEIGHT.format(0, "key") not in tensors:
        absent += [f"decoder/layers/cross_attention/{part}/kernel" for part in ("key", "value")]
    if config.task == "retrieval" and "temp" not in tensors and not naming.nameless:
        absent.append("temperature")
        _log.warning("these weights hold no temperature ('temp'): it stays the model's own, 0.07 in a new one")
    fresh = [path for path in shapes if path.startswith(tuple(absent))]
    wanted = {path: shape for path, shape in shapes.items() if path not in fresh}
    loaded = blip_table(config, naming).read(tensors, wanted)
    return {path: jnp.asarray(array) for path, array in loaded.items()}, fresh


def _adapt(tensors: dict[str, Any], config: BlipConfig, naming: Naming) -> dict[str, Any]:
    """What the official code does to a checkpoint that is meant for other images or another task."""
    positions, vision = naming.of_vision(naming.positions), config.vision
    table = as_float32(positions, tensors[positions])
    grid = vision.position_grid or vision.image_size // vision.patch_size
    tensors = tensors | {positions: resize_positions(jnp.asarray(table[0]), (grid, grid))[None]}
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


def _words(tensors: Mapping[str, Any]) -> list[str]:
    """The first words of all names."""
    return sorted({str(name).split(".")[0] for name in tensors})
