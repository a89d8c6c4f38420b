"""Position tables: resizing like torch's bicubic interpolation, and RoBERTa's numbering of positions."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from smarttrim_jax.errors import ConfigError


def resize_positions(table: Float[Array, "positions width"], grid: tuple[int, int]) -> Float[Array, "resized width"]:
    """Resizes the patch positions of a table to another grid of patches; the global position stays as it is.

    Equals METER's `adapt_position_encoding` and BLIP's `interpolate_pos_embed`: torch's bicubic interpolation with
    `align_corners=False` and no antialiasing.

    Args:
        table: `[1 + side * side, width]`: row 0 for the global token, then a square grid of patches row by row.
        grid: Number of patches down and across.

    Returns:
        `[1 + grid[0] * grid[1], width]`, in the table's data type.

    Raises:
        ConfigError: The table does not hold a square grid.
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
    """Makes a matrix of torch's cubic convolution along one axis (a = -0.75, half-pixel centres, repeated borders).

    Args:
        size: Length of the axis.
        resized: Length after resizing.

    Returns:
        `[resized, size]`, float32; each row sums to 1.
    """
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
    """Numbers positions by RoBERTa's rule: the pad id plus a running count of tokens that are no padding.

    Args:
        ids: Token ids, `[batch, tokens]`.
        pad_id: Id of the padding token.

    Returns:
        Rows of the position table, `[batch, tokens]`; padding gets `pad_id`.
    """
    present = (ids != pad_id).astype(jnp.int32)
    return jnp.cumsum(present, axis=1) * present + pad_id
