"""A model as a file under the names of another program, and a second file beside it.

The first is a safetensors file with the weights under the other program's names, and the configuration in its
metadata. The second one holds, under our names, what the other program does not have, such as the trimmers.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from smarttrim_jax.configuration import build, to_dict
from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.json_text import parse_json
from smarttrim_jax.models.functional import Params
from smarttrim_jax.pretrained.files import Path, read_metadata, read_weights, write_weights
from smarttrim_jax.pretrained.weight_table import Rule, WeightTable
from smarttrim_jax.tree_paths import flat_dict, nested_dict

T = TypeVar("T")
# Readers of safetensors for torch expect the entry "format".
CONFIG, FORMAT = "smarttrim_jax.config", {"format": "pt"}


def trimmers_path(path: Path) -> pathlib.Path:
    """Returns the path of the second file: `meter.trimmers.safetensors` beside `meter.safetensors`.

    Args:
        path: Path of the first file.

    Returns:
        The path, whether or not the file exists.
    """
    return pathlib.Path(path).expanduser().with_suffix(".trimmers.safetensors")


def write_pair(
    path: Path, config: Any, tensors: Mapping[str, np.ndarray], beside: Mapping[str, np.ndarray]
) -> list[pathlib.Path]:
    """Writes both files, or only the first if there is nothing for the second.

    Args:
        path: Path of the first file, ending in `.safetensors`.
        config: Configuration of the model.
        tensors: Arrays by the other program's names.
        beside: Arrays for the second file, by our paths.

    Returns:
        Paths of the files written.

    Raises:
        CheckpointError: A file cannot be written.
    """
    path = pathlib.Path(path).expanduser()
    write_weights(path, tensors, FORMAT | {CONFIG: json.dumps(to_dict(config))})
    if not beside:
        return [path]
    write_weights(trimmers_path(path), beside, FORMAT)
    return [path, trimmers_path(path)]


def read_configuration(path: Path, kind: type[T]) -> T | None:
    """Reads the configuration that a file carries in its metadata.

    Args:
        path: Path of the first file.
        kind: Class of the configuration.

    Returns:
        The configuration; None if the file carries none.

    Raises:
        CheckpointError: The configuration cannot be read.
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
    """Fills a model's parameters from the second file.

    Args:
        path: Path of the first file.
        params: Parameters of the model.
        others: Names of top-level parameters, beside the trimmers, that the second file may hold.

    Returns:
        The parameters with those of the second file; unchanged if there is no such file.

    Raises:
        CheckpointError: The trimmers are of another model.
    """
    beside = trimmers_path(path)
    if not beside.is_file():
        return params
    held = read_weights(beside)
    names = [name for name in ("trimmers", *others) if name in params and (name == "trimmers" or name in held)]
    flat = flat_dict({name: params[name] for name in names})
    if "trimmers" not in names:
        held = {name: held[name] for name in names}
    table = WeightTable("trimmers", tuple(Rule(name, (name,)) for name in flat))
    loaded = table.read(held, {name: np.shape(leaf) for name, leaf in flat.items()})
    return params | nested_dict(jax.tree.map(jnp.asarray, loaded))
