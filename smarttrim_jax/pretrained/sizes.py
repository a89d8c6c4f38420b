"""Sizes read from the names and shapes of weights or from a configuration, and their overrides."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from smarttrim_jax.errors import CheckpointError, ConfigError

HEAD_WIDTH = 64
T = TypeVar("T")
Parts = dict[str, dict[str, Any]]
"""Fields of a configuration's parts, by the name of the part."""


def parse_overrides(kind: type[T], overrides: Mapping[str, Any]) -> T:
    """Makes a dataclass of overrides.

    Args:
        kind: Dataclass whose fields are all possible overrides.
        overrides: Values of some of its fields.

    Returns:
        The dataclass.

    Raises:
        ConfigError: An override does not exist.
    """
    accepted = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    unknown = [name for name in overrides if name not in accepted]
    if unknown:
        raise ConfigError(f"unknown override '{unknown[0]}'; accepted: {', '.join(accepted)}")
    return kind(**overrides)


def apply_overrides(overrides: Any, fields: Mapping[str, Sequence[tuple[str, str]]], parts: Parts) -> dict[str, Any]:
    """Writes the overrides that are not None to the parts' sizes.

    Args:
        overrides: A dataclass of overrides.
        fields: The (part, field) pairs that an override sets; an override that is not listed is a field of the whole
            configuration.
        parts: Sizes by part; changed in place.

    Returns:
        The overrides of the whole configuration, by field.
    """
    whole = {}
    for name, value in vars(overrides).items():
        if value is not None and name in fields:
            for part, field in fields[name]:
                parts[part][field] = value
        elif value is not None:
            whole[name] = value
    return whole


def written_down(config: Any, names: Sequence[str]) -> tuple[Parts, dict[str, Any]]:
    """Splits a configuration into the fields of its parts and its other fields.

    Args:
        config: A dataclass.
        names: Names of those of its fields that are parts.

    Returns:
        Fields of each part, and the other fields.
    """
    whole = {name: value for name, value in vars(config).items() if name not in names}
    return {name: dict(vars(getattr(config, name))) for name in names}, whole


def shape_of(family: str, tensors: Mapping[str, Any], name: str, axes: int) -> tuple[int, ...]:
    """Returns the shape of a weight.

    Args:
        family: Name of the checkpoint's family, for errors.
        tensors: Tensors by official name.
        name: Name of the weight.
        axes: Number of axes that it must have.

    Returns:
        Its shape.

    Raises:
        CheckpointError: The weight is missing, or has another number of axes or an axis of length 0.
    """
    if name not in tensors:
        raise CheckpointError(f"weight {name!r} is missing from this {family} checkpoint; use the complete file")
    shape = tuple(np.shape(tensors[name]))
    if len(shape) != axes or 0 in shape:
        raise CheckpointError(
            f"weight {name!r} has shape {list(shape)}, but {family}'s has {axes} axes, none of them 0"
        )
    return shape


def depth_of(tensors: Mapping[str, Any], prefix: str) -> int:
    """Counts the layers whose weights are called `prefix.0.`, `prefix.1.` and so on.

    Args:
        tensors: Tensors by name.
        prefix: Prefix of the layers' names.

    Returns:
        The number of layers.

    Raises:
        CheckpointError: A number is left out.
    """
    matches = [re.match(rf"{re.escape(prefix)}\.([0-9]+)\.", name) for name in tensors]
    found = {match[1] for match in matches if match}
    missing = [layer for layer in map(str, range(len(found))) if layer not in found]
    if missing:
        raise CheckpointError(
            f"layer '{prefix}.{missing[0]}' is missing, but there are {len(found)} with other numbers; use the "
            "complete file"
        )
    return len(found)


def grid_side(positions: int) -> int:
    """Returns the number of patches along a side of the square images that a position table is for.

    Args:
        positions: Number of rows of the table.

    Returns:
        The side of the grid.

    Raises:
        CheckpointError: The table is not 1 plus a square grid.
    """
    side = math.isqrt(positions - 1)
    if side * side != positions - 1:
        raise CheckpointError(
            f"the image position table has {positions} rows, which is not 1 + a square grid of patches; "
            "the checkpoint is damaged or of another model"
        )
    return side


def default_heads(part: str, width: int, setting: str) -> int:
    """Returns the number of attention heads of width 64.

    Args:
        part: Name of the part of the model, for errors.
        width: Width of its tokens.
        setting: Name of the override that sets another number.

    Returns:
        The number of heads.

    Raises:
        ConfigError: The width does not divide into such heads.
    """
    if width % HEAD_WIDTH:
        raise ConfigError(
            f"{part} width {width} does not divide into heads of {HEAD_WIDTH}; say their number as '{setting}'"
        )
    return width // HEAD_WIDTH
