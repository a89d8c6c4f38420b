"""Encoded images to arrays on the host, and arrays to the model's range on the device."""

import io
import struct
from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image

from smarttrim_jax.errors import DataError

Resize = Literal["resize", "resize_crop"]
Preset = Literal["clip", "imagenet", "half"]

# Of RGB in [0, 1]: "clip" is CLIP's and METER's, "imagenet" DINOv2's; "half" maps to [-1, 1].
MEAN: dict[Preset, tuple[float, float, float]] = {
    "clip": (0.48145466, 0.4578275, 0.40821073),
    "imagenet": (0.485, 0.456, 0.406),
    "half": (0.5, 0.5, 0.5),
}
STD: dict[Preset, tuple[float, float, float]] = {
    "clip": (0.26862954, 0.26130258, 0.27577711),
    "imagenet": (0.229, 0.224, 0.225),
    "half": (0.5, 0.5, 0.5),
}


def decode(data: bytes, name: str) -> Image.Image:
    """Decodes a PNG or JPEG file to RGB; transparency is dropped, as METER does.

    Args:
        data: the file's bytes.
        name: how an error calls the image: its file or its example.

    Raises:
        DataError: the file is truncated, damaged or no image.
    """
    try:
        # Through RGBA, so that a palette with transparency becomes its colours.
        return Image.open(io.BytesIO(data)).convert("RGBA").convert("RGB")
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError) as error:
        raise DataError(f"cannot read image '{name}': {error}; replace the file") from error


def resize(image: Image.Image, size: int) -> Image.Image:
    """The whole image at size x size, bicubic; the aspect ratio is not kept."""
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BICUBIC)


def resize_crop(image: Image.Image, size: int) -> Image.Image:
    """The short side at `size`, bicubic, and its centre square: METER's evaluation transform."""
    width, height = image.size
    short = min(width, height)
    width, height = int(size * width / short), int(size * height / short)
    left, top = round((width - size) / 2), round((height - size) / 2)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    return image.crop((left, top, left + size, top + size))


def side_by_side(images: Sequence[Image.Image]) -> Image.Image:
    """One picture of several, from left to right, each at the height of the first."""
    if len(images) == 1:
        return images[0]
    height = images[0].height
    widths = [max(round(image.width * height / image.height), 1) for image in images]
    picture, left = Image.new("RGB", (sum(widths), height)), 0
    for image, width in zip(images, widths, strict=True):
        same = image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC)
        picture.paste(same, (left, 0))
        left += width
    return picture


def to_array(image: Image.Image, size: int, how: Resize) -> UInt8[np.ndarray, "size size 3"]:
    """The image as the pipeline ships it: square, uint8."""
    return np.asarray(resize(image, size) if how == "resize" else resize_crop(image, size))


def normalize(images: UInt8[Array, "*batch 3"], preset: Preset) -> Float[Array, "*batch 3"]:
    """Images for the model, computed on the device: images travel as uint8, a quarter of float32.

    Args:
        images: [..., height, width, 3], 0 to 255.
        preset: which mean and standard deviation.

    Returns:
        float32 of the same shape: (image / 255 - mean) / std.
    """
    mean, std = jnp.asarray(MEAN[preset], jnp.float32), jnp.asarray(STD[preset], jnp.float32)
    return (jnp.asarray(images, jnp.float32) / 255 - mean) / std
