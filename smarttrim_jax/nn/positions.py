"""Position tables: resized like torch's bicubic interpolation, and RoBERTa's position rule."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from smarttrim_jax.errors import ConfigError


def resize_positions(table: Float[Array, "positions width"], grid: tuple[int, int]) -> Float[Array, "resized width"]:
    """The table of one global and a square grid of patch positions, for another grid of patches.

    Equals METER's `adapt_position_encoding` and BLIP's `interpolate_pos_embed`: torch's bicubic
    interpolation with `align_corners=False` and no antialiasing; the global position stays as it is.

    Args:
        table: row 0 for the global token, then the patches row by row.
        grid: patches down and across.

    Raises:
        ConfigError: the table does not hold a square grid.
    """
    side = round((table.shape[0] - 1) ** 0.5)
    if side * side != table.shape[0] - 1:
        raise ConfigError(f"a position table of {table.shape[0]} rows is not 1 + a square grid of patches")
    if grid == (side, side):
        return table
    patches = table[1:].reshape(side, side, -1)
    rows, columns = bicubic_matrix(side, grid[0]), bicubic_matrix(side, grid[1])
    resized = jnp.einsum("yi,xj,ijd->yxd", rows, columns, patches, precision="highest")
    return jnp.concatenate([table[:1], resized.reshape(-1, table.shape[1]).astype(table.dtype)])


@functools.cache
def bicubic_matrix(size: int, resized: int) -> Float[np.ndarray, "resized size"]:
    """Cubic convolution (a = -0.75) along one axis as a matrix, half-pixel centres, borders repeated."""
    a = -0.75
    matrix = np.zeros((resized, size))
    for row in range(resized):
        centre = (row + 0.5) * size / resized - 0.5
        first = int(np.floor(centre)) - 1
        for tap in range(first, first + 4):
            d = abs(centre - tap)
            if d <= 1:
                weight = (a + 2) * d**3 - (a + 3) * d**2 + 1
            else:
                weight = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
            matrix[row, min(max(tap, 0), size - 1)] += weight
    return matrix.astype(np.float32)


def roberta_positions(ids: Int[Array, "batch tokens"], pad_id: int) -> Int[Array, "batch tokens"]:
    """RoBERTa's rule: the pad id plus a running count of the tokens that are no padding; padding gets the pad id."""
    present = (ids != pad_id).astype(jnp.int32)
    return jnp.cumsum(present, axis=1) * present + pad_id
