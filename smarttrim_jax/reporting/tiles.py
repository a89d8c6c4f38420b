"""Images as layers read them: open patches as they are, closed ones faded and hatched."""

import numpy as np
from jaxtyping import Bool, UInt8

SIDE = 200
"""Minimum width and height of a tile, in pixels."""

# Hatched paper: lighter than dark photographs, and its lines darker than white ground. No ground looks like both.
PAPER = np.array([233.0, 236.0, 242.0])
LINES = np.array([118, 130, 158], np.uint8)
EDGE = np.array([29, 36, 51], np.uint8)
FADED, PERIOD, STROKE = 0.25, 8, 2


def resized(image: UInt8[np.ndarray, "size size 3"]) -> UInt8[np.ndarray, "side side 3"]:
    """Scales an image by a whole factor, so that its pixels stay what they are.

    Args:
        image: Image, `[size, size, 3]`.

    Returns:
        The image at the smallest multiple of its size that is at least `SIDE`; a size of twice that or more is
        divided instead, and as many pixels averaged.
    """
    size = len(image)
    if size < SIDE:
        factor = -(-SIDE // size)
        return image.repeat(factor, axis=0).repeat(factor, axis=1)
    factor = size // SIDE
    whole = size // factor * factor
    blocks = image[:whole, :whole].reshape(size // factor, factor, size // factor, factor, 3)
    mean: np.ndarray = blocks.mean(axis=(1, 3)).round().astype(np.uint8)
    return mean


def tile(
    image: UInt8[np.ndarray, "size size 3"], kept: Bool[np.ndarray, "rows columns"]
) -> UInt8[np.ndarray, "side side 3"]:
    """Draws an image as a layer reads it.

    Args:
        image: Image, `[size, size, 3]`.
        kept: Which patches are open, `[rows, columns]`.

    Returns:
        The image of `resized`: open patches as they are; closed patches faded, hatched and outlined.
    """
    shown = resized(image)
    side = len(shown)
    places = np.arange(side)
    rows, columns = (places * count // side for count in kept.shape)
    opened = kept[rows][:, columns]  # [side, side]
    mixed = np.where(opened[..., None], shown, hatched(shown))
    mixed[~opened & _beside(opened)] = EDGE
    return mixed


def hatched(pixels: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """Fades an image and hatches it by diagonal lines.

    Args:
        pixels: An image of `resized`, or a part of one, `[height, width, 3]`.

    Returns:
        What a closed patch looks like, `[height, width, 3]`.
    """
    height, width, _ = pixels.shape
    faded = (FADED * pixels + (1 - FADED) * PAPER).round().astype(np.uint8)
    faded[(np.arange(height)[:, None] + np.arange(width)) % PERIOD < STROKE] = LINES
    return faded


def _beside(opened: Bool[np.ndarray, "side side"]) -> Bool[np.ndarray, "side side"]:
    """Marks pixels that have an open pixel next to them, above, below, left or right."""
    padded = np.pad(opened, 1)
    beside: np.ndarray = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return beside
