"""Models from official PyTorch checkpoints."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.models.functional import Functional, Params
from smarttrim_jax.models.meter import MeterConfig
from smarttrim_jax.nn.positions import resize_positions
from smarttrim_jax.pretrained.meter import HEADS, METER
from smarttrim_jax.pretrained.meter_config import MeterOverrides, infer_config
from smarttrim_jax.pretrained.parameters import draw, parameter_shapes
from smarttrim_jax.pretrained.sizes import parse_overrides

# Weights that only METER with a CLIP vision transformer has.
LANDMARKS = ("vit_model.visual.conv1.weight", "text_transformer.embeddings.word_embeddings.weight")
POSITIONS, TOKEN_TYPES = "vit_model.visual.positional_embedding", "token_type_embeddings.weight"


def from_official(state_dict: Mapping[str, Any], **overrides: Any) -> tuple[MeterConfig, Params]:
    """A model from the weights of an official METER checkpoint (CLIP-ViT and RoBERTa).

    Args:
        state_dict: tensors by official name (of torch or numpy, any float type), or the Lightning
            checkpoint that holds them as "state_dict".
        **overrides: fields of `MeterOverrides`.

    Returns:
        The configuration, every size read off the weights, and float32 parameters for `Functional`. What the
        checkpoint does not hold (trimmers, heads of other tasks) starts fresh, drawn from the seed 0.

    Raises:
        CheckpointError: weights of another model, missing, unexpected or misshaped, listed all at once.
        ConfigError: an unknown override, or one that does not fit.
    """
    wanted = parse_overrides(MeterOverrides, overrides)
    tensors = dict(state_dict.get("state_dict", state_dict))
    _recognise(tensors)
    config = infer_config(tensors, wanted)
    tensors = _adapt(tensors, config)

    model = Functional(config)
    shapes = parameter_shapes(model)
    in_file = {f"head/{name}" for name, head in HEADS.items() if head.last in tensors}
    fresh = [
        path
        for path in shapes
        if path.startswith("trimmers/") or (path.startswith("head/") and "/".join(path.split("/")[:2]) not in in_file)
    ]
    loaded = METER.read(tensors, {path: shape for path, shape in shapes.items() if path not in fresh})
    params = {path: jnp.asarray(array) for path, array in loaded.items()}
    return config, unflatten_dict(params | draw(model, fresh), sep="/")


def _recognise(tensors: Mapping[str, Any]) -> None:
    absent = [name for name in LANDMARKS if name not in tensors]
    if absent:
        found = sorted({str(name).split(".")[0] for name in tensors})
        raise CheckpointError(
            f"not an official METER checkpoint with a CLIP vision transformer: {absent[0]!r} is missing, "
            f"found weights of {', '.join(found) or 'nothing'}; pass the file's state_dict unchanged"
        )


def _adapt(tensors: dict[str, Any], config: MeterConfig) -> dict[str, Any]:
    """What the official code does to a checkpoint that is meant for other images or another task."""
    table = np.asarray(tensors[POSITIONS], np.float32)
    grid = config.vision.image_size // config.vision.patch_size
    tensors[POSITIONS] = resize_positions(jnp.asarray(table), (grid, grid))

    kinds = np.asarray(tensors[TOKEN_TYPES])
    more = 1 + config.images - kinds.shape[0]
    tensors[TOKEN_TYPES] = np.concatenate([kinds, np.repeat(kinds[1:2], max(more, 0), axis=0)])

    heads = {head.name for head in config.heads}
    unused = tuple(f"{head.prefix}." for name, head in HEADS.items() if name not in heads)
    if "rank" in heads and HEADS["rank"].last not in tensors and HEADS["itm"].last in tensors:
        for part in ("weight", "bias"):
            tensors[f"rank_output.{part}"] = np.asarray(tensors[f"itm_score.fc.{part}"])[1:]
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(unused)}
