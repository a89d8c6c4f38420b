"""A METER as files that the official code can read, and such files as a METER.

The weights lie under the official names in one safetensors file. What the official model does not have, the
trimmers, lies in a second file beside it, and the configuration in the metadata of the first.
"""

import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from smarttrim_jax.configuration import build, to_dict
from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.models.functional import Params
from smarttrim_jax.models.meter import MeterConfig
from smarttrim_jax.pretrained.files import Path, read_metadata, read_weights, write_weights
from smarttrim_jax.pretrained.meter import HEADS
from smarttrim_jax.pretrained.meter_config import MeterOverrides, infer_config
from smarttrim_jax.pretrained.official import (
    fill_from_official,
    heads_in,
    new_params,
    to_official,
    unwrapped,
)
from smarttrim_jax.pretrained.sizes import parse_overrides
from smarttrim_jax.pretrained.weight_table import Rule, WeightTable

# "format" is what torch's readers of safetensors expect.
CONFIG, FORMAT = "smarttrim_jax.config", {"format": "pt"}
# Heads of pre-training: a file with these alone is of no task, and serves all.
PRETRAINING = ("itm", "mlm")


def trimmers_path(path: Path) -> pathlib.Path:
    """Where the trimmers of an official file lie: `meter.trimmers.safetensors` beside `meter.safetensors`."""
    return pathlib.Path(path).expanduser().with_suffix(".trimmers.safetensors")


def write_official(path: Path, config: MeterConfig, params: Params) -> list[pathlib.Path]:
    """Writes a METER under the official names, and its trimmers beside it.

    Args:
        path: of the file, ending in `.safetensors`.
        config: of the model.
        params: of the model.

    Returns:
        The files written.

    Raises:
        CheckpointError: the official METER lacks some of the parameters, or a file cannot be written.
    """
    path = pathlib.Path(path).expanduser()
    tensors, trimmers = to_official(params)
    write_weights(path, tensors, FORMAT | {CONFIG: json.dumps(to_dict(config))})
    if not trimmers:
        return [path]
    write_weights(trimmers_path(path), trimmers, FORMAT)
    return [path, trimmers_path(path)]


def read_official(path: Path, **overrides: Any) -> tuple[MeterConfig, Params]:
    """A model from an official METER file.

    Args:
        path: of a file of the official code, or of `write_official`, which also tells its configuration.
        **overrides: fields of `MeterOverrides`.

    Returns:
        As `from_official`; with the trimmers of the file beside it, if there is one and the model has trimmers.

    Raises:
        CheckpointError: a file that cannot be read, or weights that do not fit.
        ConfigError: an unknown override, or one that does not fit.
    """
    tensors, written = unwrapped(read_weights(path)), read_metadata(path).get(CONFIG)
    known = None if written is None else _parse(path, written)
    config = infer_config(tensors, parse_overrides(MeterOverrides, overrides), known)
    return config, _with_trimmers(path, new_params(tensors, config))


def fill_from_file(path: Path, config: MeterConfig, params: Params, task: str) -> Params:
    """Parameters of a given model from an official METER file and the trimmers beside it.

    Args:
        path: as in `read_official`.
        config: of the model.
        params: of the model; those that the files do not hold stay.
        task: the head that will be trained.

    Raises:
        CheckpointError: a file that cannot be read, of another task, or of another model.
    """
    tensors = unwrapped(read_weights(path))
    held = heads_in(tensors)
    tuned = [name for name in held if name not in PRETRAINING]
    if tuned and task in HEADS and task not in held:
        raise CheckpointError(
            f"'{path}' is of another task: it has the heads {', '.join(tuned)}, and this run trains '{task}'; "
            "use a file of this task or of pre-training"
        )
    return _with_trimmers(path, fill_from_official(config, params, tensors))


def _with_trimmers(path: Path, params: Params) -> Params:
    beside = trimmers_path(path)
    if "trimmers" not in params or not beside.is_file():
        return params
    flat = flatten_dict({"trimmers": params["trimmers"]}, sep="/")
    table = WeightTable("trimmers", tuple(Rule(name, (name,)) for name in flat))
    loaded = table.read(read_weights(beside), {name: np.shape(leaf) for name, leaf in flat.items()})
    return params | jax.tree.map(jnp.asarray, unflatten_dict(loaded, sep="/"))


def _parse(path: Path, written: str) -> MeterConfig:
    try:
        return build(MeterConfig, json.loads(written))
    except ValueError as error:
        raise CheckpointError(
            f"the configuration in '{path}' cannot be read ({error}); write the file anew"
        ) from None
