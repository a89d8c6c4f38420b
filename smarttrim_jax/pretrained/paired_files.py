"""A model as a file under the names of another program, and a second file beside it.

The weights lie under the other program's names in one safetensors file, the configuration in its metadata. What the
other program does not have, such as the trimmers, lies in the second file under our names.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from smarttrim_jax.configuration import build, to_dict
from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.json_text import parse_json
from smarttrim_jax.models.functional import Params
from smarttrim_jax.pretrained.files import Path, read_metadata, read_weights, write_weights
from smarttrim_jax.pretrained.weight_table import Rule, WeightTable

T = TypeVar("T")
# "format" is what torch's readers of safetensors expect.
CONFIG, FORMAT = "smarttrim_jax.config", {"format": "pt"}


def trimmers_path(path: Path) -> pathlib.Path:
    """Where the trimmers of a file lie: `meter.trimmers.safetensors` beside `meter.safetensors`."""
    return pathlib.Path(path).expanduser().with_suffix(".trimmers.safetensors")


def write_pair(
    path: Path, config: Any, tensors: Mapping[str, np.ndarray], beside: Mapping[str, np.ndarray]
) -> list[pathlib.Path]:
    """Writes both files, or the first alone where there is nothing for the second.

    Args:
        path: of the first, ending in `.safetensors`.
        config: of the model.
        tensors: by the other program's names.
        beside: by our paths.

    Returns:
        The files written.

    Raises:
        CheckpointError: a file cannot be written.
    """
    path = pathlib.Path(path).expanduser()
    write_weights(path, tensors, FORMAT | {CONFIG: json.dumps(to_dict(config))})
    if not beside:
        return [path]
    write_weights(trimmers_path(path), beside, FORMAT)
    return [path, trimmers_path(path)]


def read_configuration(path: Path, kind: type[T]) -> T | None:
    """The configuration that a file carries, if any.

    Raises:
        CheckpointError: it cannot be read.
    """
    written = read_metadata(path).get(CONFIG)
    if written is None:
        return None
    try:
        return build(kind, parse_json(written))
    except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(
            f"the configuration in '{path}' cannot be read ({error}); write the file anew"
        ) from None


def with_beside(path: Path, params: Params, others: tuple[str, ...] = ()) -> Params:
    """Parameters with the trimmers of the file beside, if there is one and the model has trimmers.

    Args:
        path: of the first file.
        params: of the model.
        others: names of further parameters that the file beside may hold.

    Raises:
        CheckpointError: trimmers of another model.
    """
    beside = trimmers_path(path)
    if not beside.is_file():
        return params
    held = read_weights(beside)
    names = [name for name in ("trimmers", *others) if name in params and (name == "trimmers" or name in held)]
    flat = flatten_dict({name: params[name] for name in names}, sep="/")
    if "trimmers" not in names:
        held = {name: held[name] for name in names}
    table = WeightTable("trimmers", tuple(Rule(name, (name,)) for name in flat))
    loaded = table.read(held, {name: np.shape(leaf) for name, leaf in flat.items()})
    return params | jax.tree.map(jnp.asarray, unflatten_dict(loaded, sep="/"))
