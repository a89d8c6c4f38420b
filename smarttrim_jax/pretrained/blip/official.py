"""Converts PyTorch checkpoints of BLIP, with the official code's names or Hugging Face's, to our models and back."""

import logging
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

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
from smarttrim_jax.tree_paths import flat_dict, nested_dict

TRIMMERS = "trimmers/"
ONE_IMAGE = re.compile(r"(.*\.crossattention\.(?:self|output\.dense))(\..*)")
"""Names of the weights of a cross-attention that reads a single image."""

SOURCE_WEIGHT = "text_decoder.bert.encoder.layer.{}.crossattention.self.{}.weight"
_log = logging.getLogger(__name__)

FRESH_PARTS = {"cls_head", "temp"}
"""Parts that a checkpoint may lack, and that a model then starts with anew."""
# Sizes that must equal the checkpoint's; image sizes, dropout and the rest can differ.
SIZES = {
    "vision": ("patch_size", "width", "depth", "mlp_width"),
    "text": ("vocab_size", "width", "depth", "mlp_width", "max_positions"),
}


def from_official_blip(
    state_dict: Mapping[str, Any], *, task: TaskName | None = None, **overrides: Any
) -> tuple[BlipConfig, Params]:
    """Makes a model from the weights of a BLIP checkpoint, of the same task or of pre-training.

    Parts that belong to other tasks are left out. So are the momentum model and the queues of retrieval, which a new
    training starts from copies of the model and from noise. For NLVR2, weights for a single image are used for both
    images, as in the official code.

    Args:
        state_dict: Tensors (of torch or numpy, any float type) by the official code's names or by those of Hugging
            Face's BlipForQuestionAnswering, BlipForConditionalGeneration and BlipForImageTextRetrieval; or the file's
            whole content, which holds them as "model".
        task: What the model shall do; None takes what a fine-tuned checkpoint does.
        **overrides: Fields of `BlipOverrides`. Names and shapes do not tell that transformers computes with other
            settings than the official code (`vision_epsilon`); `read_blip` reads its config.json too.

    Returns:
        The configuration, with all sizes read from the weights, and float32 parameters for `Functional`. What the
        checkpoint does not hold is drawn from seed 0: trimmers; NLVR2's head and merging maps; retrieval's
        temperature, which Hugging Face's files lack; keys and values of an answer decoder that was pre-trained on
        images of another width than questions.

    Raises:
        CheckpointError: Weights are of another model or task, or are missing, unexpected or misshaped; all are listed
            at once.
        ConfigError: The task or an override is unknown or does not fit.
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
    """Makes a model from tensors and from what lies beside them; see `from_official_blip`.

    Args:
        tensors: Tensors by name, as `blip_weights` returns them.
        task: What the model shall do; None takes what a fine-tuned checkpoint does.
        overrides: Values of fields of `BlipOverrides`.
        known: The configuration in the file's metadata; None if there is none.
        hub: The content of Hugging Face's config.json; None if there is none.

    Returns:
        The configuration, and float32 parameters.

    Raises:
        CheckpointError: Weights are of another model or task, or are missing, unexpected or misshaped; all are listed
            at once.
        ConfigError: The task or an override is unknown or does not fit.
    """
    wanted, naming = parse_overrides(BlipOverrides, overrides), naming_of(tensors)
    task = _check_task(tensors, task, naming)
    own = _own(tensors, task, naming)
    config = infer_blip_config(own, task, wanted, naming, known=known, hub=hub)
    model = Functional(config)
    loaded, fresh = _load(own, config, naming, parameter_shapes(model))
    return config, nested_dict(loaded | draw(model, fresh))


def fill_blip(config: BlipConfig, params: Params, tensors: Mapping[str, Any]) -> Params:
    """Fills a model's parameters from the tensors of a checkpoint.

    Args:
        config: Configuration of the model; positions are resized to its images.
        params: Parameters of the model; those that the checkpoint does not hold (trimmers, for example) are kept.
        tensors: Tensors by name, as `blip_weights` returns them.

    Returns:
        The parameters with those of the checkpoint filled in.

    Raises:
        CheckpointError: The checkpoint has other sizes, or is of another task or another model; all differences are
            listed.
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
    flat = flat_dict(params)
    loaded, _ = _load(own, config, naming, {path: np.shape(leaf) for path, leaf in flat.items()})
    return nested_dict(flat | loaded)


def to_blip(
    config: BlipConfig, params: Params, naming: Naming = OFFICIAL
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Converts a model's parameters to a family's names; the inverse of `from_official_blip`.

    Args:
        config: Configuration of the model.
        params: Parameters of the model.
        naming: The family of names.

    Returns:
        The tensors by the family's names, and by our paths the parameters that the family does not have, such as
        trimmers.

    Raises:
        CheckpointError: Other parameters have no name in the family's models.
        ConfigError: The family has no counterpart of the model.
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
    flat = {path: np.asarray(leaf) for path, leaf in flat_dict(params).items()}
    beside = {path: leaf for path, leaf in flat.items() if path.startswith((TRIMMERS, *naming.nameless))}
    table = blip_table(config, naming)
    return table.write({path: leaf for path, leaf in flat.items() if path not in beside}), beside


def blip_weights(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Finds the tensors of a checkpoint by name; tied ones get the name that our table uses.

    Args:
        state_dict: Tensors by name, or the content of a file.

    Returns:
        The tensors by name.

    Raises:
        CheckpointError: Some names have a wrapper's prefix and others do not.
    """
    tensors = unwrapped(state_dict)
    return {origin: tensors[copy] for copy, origin in TIED.items() if copy in tensors} | tensors


def naming_of(tensors: Mapping[str, Any]) -> Naming:
    """Recognises the family of names.

    Args:
        tensors: Tensors by name.

    Returns:
        The official names, or Hugging Face's.

    Raises:
        CheckpointError: The names are of neither.
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
    """Determines the task that weights serve, or checks that they serve the wanted one.

    Raises:
        CheckpointError: The weights are of another task, or of no BLIP.
        ConfigError: The task is unknown, or None where the weights do not tell it.
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
    """Leaves out the parts of other tasks, the momentum model and the queues."""
    known = {part for parts in naming.parts.values() for part in parts}
    momentum = {f"{part}_m" for part in known}
    queues = {"image_queue", "text_queue", "idx_queue", "ptr_queue", "queue_ptr"}
    elsewhere = (known | momentum | queues) - set(naming.parts[task])
    return {name: tensor for name, tensor in tensors.items() if str(name).split(".")[0] not in elsewhere}


def _load(
    tensors: dict[str, Any], config: BlipConfig, naming: Naming, shapes: Mapping[str, Shape]
) -> tuple[dict[str, jax.Array], list[str]]:
    """Reads the parameters that the checkpoint holds, and lists the paths of the model's others."""
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
    """Adapts a checkpoint to other image sizes or another task, as the official code does."""
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
    """Removes keys and values by which a pre-trained decoder reads images, if these are not as wide as questions."""
    names = [SOURCE_WEIGHT.format(layer, part) for layer in range(config.text.depth) for part in ("key", "value")]
    widths = {np.shape(tensors[name])[-1] for name in names if name in tensors}
    if widths == {config.vision.width} and config.vision.width != config.text.width:
        for name in names:
            tensors.pop(name, None)


def _words(tensors: Mapping[str, Any]) -> list[str]:
    """The first parts of all names, up to the first point."""
    return sorted({str(name).split(".")[0] for name in tensors})
