"""Checks of a model's inputs, so that a mistake raises a plain message instead of a shape error or a wrong answer.

Shapes and types are always known, so checking them costs nothing in a compiled program. Values are checked where they
are known, which is in calls outside `jax.jit`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jaxtyping import Array

from smarttrim_jax.errors import ConfigError, DataError


def check_images(images: Array) -> None:
    """Checks that an array is a batch of normalised color images.

    Args:
        images: `[batch, height, width, 3]`, or `[batch, images, height, width, 3]` with several images per example.

    Raises:
        ConfigError: The array has other axes, holds no pixel, or is split over an Explicit mesh axis.
        DataError: The array holds integers, such as pixels that are not yet normalised.
    """
    if images.ndim not in (4, 5) or images.shape[-1] != 3:
        raise ConfigError(
            f"images have the shape {list(images.shape)}; they are [batch, height, width, 3], or "
            "[batch, images, height, width, 3], colors last"
        )
    if 0 in images.shape:
        raise ConfigError(
            f"images have the shape {list(images.shape)}, which holds no pixel; give at least one image"
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise DataError(
            f"images are {images.dtype}, but models take normalised floating-point pixels; "
            "smarttrim_jax.data.images.normalize makes these of 0 to 255"
        )
    check_layout("images", images)


def check_texts(ids: Array, mask: Array, vocab_size: int) -> None:
    """Checks that two arrays are a batch of token ids and its padding mask.

    Args:
        ids: Token ids, `[batch, tokens]`.
        mask: `[batch, tokens]`, 1 for tokens, 0 for padding.
        vocab_size: Number of rows of the word table.

    Raises:
        ConfigError: The arrays have other shapes or types, or `ids` is split over an Explicit mesh axis.
        DataError: An id is not a row of the word table, the mask has values other than 0 and 1, or a text has no
            token.
    """
    if ids.ndim != 2 or ids.shape[1] == 0 or not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ConfigError(
            f"ids are {ids.dtype}{list(ids.shape)}; they are integers, [batch, tokens], of one token or more"
        )
    if mask.shape != ids.shape:
        raise ConfigError(
            f"the mask has the shape {list(mask.shape)}, but ids have {list(ids.shape)}; give one for each"
        )
    check_layout("ids", ids)
    tokens, present = _values(ids), _values(mask)
    if tokens is not None and tokens.size and not (tokens.min() >= 0 and tokens.max() < vocab_size):
        row, place = np.argwhere((tokens < 0) | (tokens >= vocab_size))[0]
        raise DataError(
            f"text {row} has the id {tokens[row, place]} at token {place}, but the word table has rows 0 to "
            f"{vocab_size - 1}; use the tokenizer that the model was trained with"
        )
    if present is None:
        return
    if not np.isin(present, (0, 1)).all():
        row, place = np.argwhere(~np.isin(present, (0, 1)))[0]
        raise DataError(
            f"the mask of text {row} is {present[row, place]} at token {place}; it is 1 for tokens, 0 for padding"
        )
    if not present.any(axis=1).all():
        row = np.flatnonzero(~present.any(axis=1))[0]
        raise DataError(f"the mask of text {row} is 0 for every token; a text has at least its first token")


def check_same_examples(first: str, first_count: int, second: str, second_count: int) -> None:
    """Checks that two parts of a batch have the same number of examples.

    Args:
        first: Name of the first part, for the message.
        first_count: Number of its examples.
        second: Name of the second part.
        second_count: Number of its examples.

    Raises:
        ConfigError: The numbers differ.
    """
    if first_count != second_count:
        raise ConfigError(
            f"{first_count} {first} but {second_count} {second}; give one for each example, in one order"
        )


def check_layout(name: str, array: Array) -> None:
    """Checks that an array is not sharded over Explicit mesh axes, since the layers leave sharding to XLA.

    Args:
        name: Name of the array, for the message.
        array: An input or a parameter.

    Raises:
        ConfigError: The array is split over an Explicit axis of a mesh.
    """
    layout = jax.typeof(array).sharding
    explicit = {
        axis
        for axis, kind in zip(layout.mesh.axis_names, layout.mesh.axis_types, strict=True)
        if kind == AxisType.Explicit
    }
    split = {axis for part in layout.spec for axis in (part if isinstance(part, tuple) else (part,)) if axis}
    if explicit & split:
        axes = ", ".join(f"'{axis}'" for axis in sorted(explicit & split))
        raise ConfigError(
            f"{name} are split over Explicit mesh axes ({axes}), but models are laid out by XLA; make the mesh with "
            "axis_types=(AxisType.Auto,) * number of axes"
        )


def _values(array: Any) -> np.ndarray | None:
    """The values of an array on the host; None for a traced array and for one that partly lies in other processes."""
    if isinstance(array, jax.core.Tracer) or (isinstance(array, jax.Array) and not array.is_fully_addressable):
        return None
    return np.asarray(array)
