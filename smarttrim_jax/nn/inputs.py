"""What a model is given, checked at its border: a sentence in place of a shape error, or of an answer to nothing.

Shapes and types are always known, and cost nothing inside a compiled program. Values are looked at where there are
any, which is in a call outside `jax.jit`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jaxtyping import Array

from smarttrim_jax.errors import ConfigError, DataError


def check_images(images: Array) -> None:
    """Refuses what is no batch of normalised color images.

    Args:
        images: `[batch, height, width, 3]`, or with an axis of an example's images behind the first.

    Raises:
        ConfigError: other axes, no pixels, or a layout over an Explicit mesh.
        DataError: integers, as of pixels that are not yet normalised.
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
    """Refuses what is no batch of token ids with its mask.

    Args:
        ids: `[batch, tokens]`.
        mask: `[batch, tokens]`, 1 for tokens, 0 for padding.
        vocab_size: rows of the word table.

    Raises:
        ConfigError: other shapes or types, or a layout over an Explicit mesh.
        DataError: an id that is no row of the word table, a mask of other numbers, a text without a token.
    """
    if ids.ndim != 2 or ids.shape[1] == 0 or not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ConfigError(f"ids are {ids.dtype}{list(ids.shape)}; they are integers, [batch, tokens]")
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
    """Refuses two sides of a batch that do not belong together.

    Args:
        first: what one side is called.
        first_count: its examples.
        second: what the other is called.
        second_count: its examples.

    Raises:
        ConfigError: they are not as many.
    """
    if first_count != second_count:
        raise ConfigError(
            f"{first_count} {first} but {second_count} {second}; give one for each example, in one order"
        )


def check_layout(name: str, array: Array) -> None:
    """Refuses an array whose layout JAX would follow from operation to operation: the layers leave that to XLA.

    Args:
        name: as the error calls it.
        array: an input, or a parameter.

    Raises:
        ConfigError: it is split over an Explicit axis of a mesh.
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
    """The values, unless they are still to come or lie in other processes."""
    if isinstance(array, jax.core.Tracer) or (isinstance(array, jax.Array) and not array.is_fully_addressable):
        return None
    return np.asarray(array)
