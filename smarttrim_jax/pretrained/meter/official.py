"""Converts official PyTorch checkpoints of METER to models of ours and back."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.models.functional import Functional, Params, draw
from smarttrim_jax.models.meter import MeterConfig
from smarttrim_jax.nn.positions import resize_positions
from smarttrim_jax.pretrained.meter.sizes import MeterOverrides, infer_config
from smarttrim_jax.pretrained.meter.table import HEADS, METER
from smarttrim_jax.pretrained.sizes import parse_overrides
from smarttrim_jax.pretrained.weight_table import as_float32
from smarttrim_jax.pretrained.wrapping import unwrapped
from smarttrim_jax.tree_paths import flat_dict, nested_dict

# Names of weights by which a METER with a CLIP vision transformer is recognised.
LANDMARKS = ("vit_model.visual.conv1.weight", "text_transformer.embeddings.word_embeddings.weight")
TRIMMERS = "trimmers/"
# Sizes that must equal the checkpoint's; images, heads and the rest can differ.
SIZES = {
    "vision": ("patch_size", "width", "depth", "mlp_width"),
    "text": ("vocab_size", "width", "depth", "mlp_width", "max_positions", "token_types"),
    "fusion": ("width", "depth", "mlp_width"),
}
POSITIONS, TOKEN_TYPES = "vit_model.visual.positional_embedding", "token_type_embeddings.weight"


def from_official(state_dict: Mapping[str, Any], **overrides: Any) -> tuple[MeterConfig, Params]:
    """Makes a model from the weights of an official METER checkpoint (CLIP-ViT and RoBERTa).

    Args:
        state_dict: Tensors by official name (of torch or numpy, any float type), or the content of a training
            program's file that holds them, such as Lightning's.
        **overrides: Fields of `MeterOverrides`.

    Returns:
        The configuration, with all sizes read from the weights, and float32 parameters for `Functional`. What the
        checkpoint does not hold (trimmers, heads of other tasks) is drawn from seed 0.

    Raises:
        CheckpointError: Weights are of another model, or are missing, unexpected or misshaped; all are listed at
            once.
        ConfigError: An override is unknown or does not fit.
    """
    tensors = meter_weights(state_dict)
    config = infer_config(tensors, parse_overrides(MeterOverrides, overrides))
    return config, new_params(tensors, config)


def new_params(tensors: Mapping[str, Any], config: MeterConfig) -> Params:
    """Makes parameters of a model, fresh ones where the official tensors do not hold them.

    Args:
        tensors: Tensors by official name.
        config: Configuration of the model.

    Returns:
        The parameters, float32.

    Raises:
        CheckpointError: Weights are missing, unexpected or misshaped; all are listed at once.
    """
    model = Functional(config)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    loaded, fresh = _read(tensors, config, shapes)
    return nested_dict(loaded | draw(model, fresh))


def meter_weights(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Finds the tensors of an official METER checkpoint by name.

    Args:
        state_dict: Tensors by official name, or the content of a training program's file that holds them.

    Returns:
        The tensors by name, without wrappers.

    Raises:
        CheckpointError: The checkpoint is of another model.
    """
    tensors = unwrapped(state_dict)
    _recognise(tensors)
    return tensors


def fill_from_official(config: MeterConfig, params: Params, state_dict: Mapping[str, Any]) -> Params:
    """Fills a model's parameters from an official METER checkpoint.

    Args:
        config: Configuration of the model; positions are resized to its images, and token types added for them.
        params: Parameters of the model; those that the checkpoint does not hold (trimmers, heads of other tasks) are
            kept.
        state_dict: Tensors by official name, or the content of a training program's file that holds them.

    Returns:
        The parameters with those of the checkpoint filled in.

    Raises:
        CheckpointError: The checkpoint has other sizes or is of another model; all differences are listed.
    """
    tensors = meter_weights(state_dict)
    heads = {f"{part}_heads": getattr(config, part).heads for part in ("vision", "text", "fusion")}
    found = infer_config(tensors, parse_overrides(MeterOverrides, heads))
    different = [
        f"{part}.{size} is {theirs}, not {ours}"
        for part, sizes in SIZES.items()
        for size in sizes
        if (theirs := getattr(getattr(found, part), size)) != (ours := getattr(getattr(config, part), size))
    ]
    outputs = {head.name: head.outputs for head in config.heads}
    different += [
        f"the outputs of head '{head.name}' are {head.outputs}, not {outputs[head.name]}"
        for head in found.heads
        if outputs.get(head.name, head.outputs) != head.outputs
    ]
    if different:
        raise CheckpointError(
            f"these METER weights are of another model: {'; '.join(different)}; "
            "use the model's sizes of the checkpoint, or another checkpoint"
        )
    loaded, _ = _read(tensors, config, params)
    return nested_dict(flat_dict(params) | loaded)


def heads_in(state_dict: Mapping[str, Any]) -> list[str]:
    """Lists the task heads that an official checkpoint holds.

    Args:
        state_dict: Tensors by official name, or the content of a training program's file that holds them.

    Returns:
        The names of the heads.
    """
    tensors = unwrapped(state_dict)
    return [name for name, head in HEADS.items() if head.last in tensors]


def to_official(params: Params) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Converts a METER's parameters to the official names; the inverse of `from_official`.

    Args:
        params: Parameters of the model.

    Returns:
        The official tensors by name, and the trimmers, which have no official names, by our paths.

    Raises:
        CheckpointError: The official METER lacks some parameters, such as those of another image encoder.
    """
    flat = {path: np.asarray(leaf) for path, leaf in flat_dict(params).items()}
    trimmers = {path: leaf for path, leaf in flat.items() if path.startswith(TRIMMERS)}
    return METER.write({path: leaf for path, leaf in flat.items() if path not in trimmers}), trimmers


def _read(tensors: Mapping[str, Any], config: MeterConfig, model: Params) -> tuple[dict[str, jax.Array], list[str]]:
    """Reads the parameters that the checkpoint holds, and lists the paths of the model's others."""
    tensors = _adapt(dict(tensors), config)
    shapes = {path: leaf.shape for path, leaf in flat_dict(model).items()}
    in_file = {f"head/{name}" for name in heads_in(tensors)}
    fresh = [
        path
        for path in shapes
        if path.startswith(TRIMMERS) or (path.startswith("head/") and "/".join(path.split("/")[:2]) not in in_file)
    ]
    loaded = METER.read(tensors, {path: shape for path, shape in shapes.items() if path not in fresh})
    return {path: jnp.asarray(array) for path, array in loaded.items()}, fresh


def _recognise(tensors: Mapping[str, Any]) -> None:
    """Checks that tensors are of a METER with a CLIP vision transformer."""
    absent = [name for name in LANDMARKS if name not in tensors]
    if absent:
        found = sorted({str(name).split(".")[0] for name in tensors})
        raise CheckpointError(
            f"not an official METER checkpoint with a CLIP vision transformer: {absent[0]!r} is missing, "
            f"found weights of {', '.join(found) or 'nothing'}; pass the file's state_dict unchanged"
        )


def _adapt(tensors: dict[str, Any], config: MeterConfig) -> dict[str, Any]:
    """Adapts a checkpoint to other image sizes or another task, as the official code does."""
    table = as_float32(POSITIONS, tensors[POSITIONS])
    grid = config.vision.position_grid or config.vision.image_size // config.vision.patch_size
    tensors[POSITIONS] = resize_positions(jnp.asarray(table), (grid, grid))

    kinds = as_float32(TOKEN_TYPES, tensors[TOKEN_TYPES])
    more = 1 + config.images - kinds.shape[0]
    tensors[TOKEN_TYPES] = np.concatenate([kinds, np.repeat(kinds[1:2], max(more, 0), axis=0)])

    heads = {head.name for head in config.heads}
    unused = tuple(f"{head.prefix}." for name, head in HEADS.items() if name not in heads)
    if "rank" in heads and HEADS["rank"].last not in tensors and HEADS["itm"].last in tensors:
        for part in ("weight", "bias"):
            name = f"itm_score.fc.{part}"
            tensors[f"rank_output.{part}"] = as_float32(name, tensors[name])[1:]
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(unused)}
