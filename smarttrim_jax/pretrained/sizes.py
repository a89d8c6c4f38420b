"""Sizes of a model, read off the shapes of its official weights."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from smarttrim_jax.errors import CheckpointError, ConfigError

HEAD_WIDTH = 64


def shape_of(tensors: Mapping[str, Any], name: str, axes: int, family: str) -> tuple[int, ...]:
    """The shape of a weight that tells a size.

    Raises:
        CheckpointError: it is missing, or has another number of axes.
    """
    if name not in tensors:
        raise CheckpointError(f"weight {name!r} is missing from this {family} checkpoint; use the complete file")
    shape = tuple(np.shape(tensors[name]))
    if len(shape) != axes:
        raise CheckpointError(f"weight {name!r} has shape {list(shape)}, but {family}'s has {axes} axes")
    return shape


def depth_of(tensors: Mapping[str, Any], prefix: str) -> int:
    """How many layers are named `PREFIX.0.`, `PREFIX.1.` and so on."""
    found = [re.match(rf"{re.escape(prefix)}\.(\d+)\.", name) for name in tensors]
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def grid_side(positions: int) -> int:
    """The side of the patch grid of an image position table.

    Raises:
        CheckpointError: the table is not one global position and a square grid.
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
