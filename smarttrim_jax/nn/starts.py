"""Starts: the initial values from which a model learns without pretrained weights to tell where things are.

None of this changes what a model computes; weights that are loaded replace it. With the usual starts, positions are
drowned by the patches, and each residual branch adds noise as large as what it adds to, so that little of what the
heads read depends on the image (docs/method.md has the figures).
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

BRANCH = nnx.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
"""Of the last map of a residual branch: it adds a tenth of what it adds to, so that all layers see the embeddings."""
READING = nnx.initializers.lecun_normal()
"""Of the last map of cross-attention: what is read from the other side counts in full from the first step."""
POSITION_SCALE = 10_000.0
"""Longest wavelength of the position table, as in Vaswani et al. (2017, section 3.5)."""


def patch_kernel(key: Array, shape: tuple[int, int], dtype: jax.typing.DTypeLike = jnp.float32) -> Array:
    """Draws an initial kernel of the patch embedding to which a patch of one grey is nothing.

    White paper then does not outweigh what is drawn on it.

    Args:
        key: Random key.
        shape: Numbers in a patch, and width of the tokens.
        dtype: Data type of the kernel.

    Returns:
        The kernel; each of its columns sums to 0.
    """
    kernel = READING(key, shape, dtype)
    return kernel - kernel.mean(axis=0, keepdims=True)


def position_table(grid: int, width: int) -> Float[Array, "positions width"]:
    """Makes an initial position table: sines and cosines of the column and of the row (He et al. 2022, appendix A.1).

    Its numbers have a standard deviation near .7, which patches do not drown.

    Args:
        grid: Number of patches across and down.
        width: Width of the tokens. Columns beyond a multiple of four are 0.

    Returns:
        `[1 + grid * grid, width]`; the first row, of the global token, is 0.
    """
    row, column = np.mgrid[:grid, :grid].reshape(2, -1, 1)
    count = width // 4
    frequency = POSITION_SCALE ** -(np.arange(count) / count)
    table = np.zeros((1 + grid * grid, width), np.float32)
    waves = [wave(place * frequency) for place in (column, row) for wave in (np.sin, np.cos)]
    table[1:, : 4 * count] = np.concatenate(waves, axis=1)
    return jnp.asarray(table)
