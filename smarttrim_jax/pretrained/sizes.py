"""Sizes read off the names and shapes of weights, or written down, and what overrides them."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from smarttrim_jax.errors import CheckpointError, ConfigError

HEAD_WIDTH = 64
T = TypeVar("T")
Parts = dict[str, dict[str, Any]]
"""The fields of a configuration's parts."""


def parse_overrides(kind: type[T], overrides: Mapping[str, Any]) -> T:
    """The overrides by name.

    Args:
        kind: a dataclass of all there are.
        overrides: some of its fields.

    Raises:
        ConfigError: one that does not exist.
    """
    accepted = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    unknown = [name for name in overrides if name not in accepted]
    if unknown:
        raise ConfigError(f"unknown override '{unknown[0]}'; accepted: {', '.join(accepted)}")
    return kind(**overrides)


def apply_overrides(overrides: Any, fields: Mapping[str, Sequence[tuple[str, str]]], parts: Parts) -> dict[str, Any]:
    """Writes overrides that are not None into the parts' sizes.

    Args:
        overrides: a dataclass.
        fields: which field of which part an override sets.
        parts: sizes, by part; changed in place.

    Returns:
        Those of the whole configuration.
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
    """The fields of a configuration's parts, and its others.

    Args:
        config: a dataclass.
        names: of those of its fields that are parts.
    """
    whole = {name: value for name, value in vars(config).items() if name not in names}
    return {name: dict(vars(getattr(config, name))) for name in names}, whole


def shape_of(family: str, tensors: Mapping[str, Any], name: str, axes: int) -> tuple[int, ...]:
    """The shape of a weight.

    Args:
        family: of the checkpoint, as errors call it.
        tensors: by official name.
        name: of the weight.
        axes: that it must have.

    Raises:
        CheckpointError: it is missing, or has another number of axes.
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
    """The number of layers whose weights are called `prefix`.0., `prefix`.1. and so on.

    Raises:
        CheckpointError: a number is left out.
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
    """Patches along a side of the images that a position table is for.

    Raises:
        CheckpointError: no square grid.
    """
    side = round((positions - 1) ** 0.5)
    if side * side != positions - 1:
        raise CheckpointError(
            f"the image position table has {positions} rows, which is not 1 + a square grid of patches; "
            "the checkpoint is damaged or of another model"
        )
    return side


def default_heads(part: str, width: int, setting: str) -> int:
    """Attention heads, 64 wide.

    Args:
        part: as errors call it.
        width: of its tokens.
        setting: by which a user says another number.

    Raises:
        ConfigError: the width does not divide into such heads.
    """
    if width % HEAD_WIDTH:
        raise ConfigError(
            f"{part} width {width} does not divide into heads of {HEAD_WIDTH}; say their number as '{setting}'"
        )
    return width // HEAD_WIDTH
