"""Encoded images to arrays on the host, and arrays to the model's range on the device."""

import functools
import io
import math
import os
import re
import warnings
from collections.abc import Sequence
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image, ImageFile, UnidentifiedImageError

from smarttrim_jax.data.rgb import upright_rgb
from smarttrim_jax.errors import DataError, quoted, reason
from smarttrim_jax.small_files import read_whole

# The only decoders that are ever started; some of Pillow's others start programs (EPS).
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_FORMATS = "PNG, JPEG, WebP, GIF, BMP or TIFF"
_PILLOW = r"PIL\."  # its modules
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff")
"""Of the files that are images, in lower case."""

MOST_PIXELS = 2**30 // 4 // 3
"""Of an image: Pillow's own limit, a quarter of a GiB in RGB; beyond it Pillow speaks of decompression bombs."""
MOST_BYTES = 2**28
"""Of an image's file: as many pixels without compression."""
LONGEST_SIDE = 2**16 - 1
"""Of an image in pixels, JPEG's own limit; resizing holds up to this many rows at the new width."""
THIN = 16
"""Long side over short side above which an image counts as thin."""
MOST_ENLARGED = 2**24
"""Pixels of a picture that is larger than the images it is made of."""

T = TypeVar("T")

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
    """Decodes a PNG, JPEG, WebP, GIF (its first frame), BMP or TIFF file.

    Args:
        data: Content of the file.
        name: How an error calls the image: its file or its example.

    Returns:
        RGB, upright; see `upright_rgb`.

    Raises:
        DataError: The file is truncated, damaged, too large or of another format.
    """
    _ignore_warnings_of_pillow()
    try:
        if len(data) > MOST_BYTES:
            raise DataError(f"it has {len(data):,} bytes; at most {MOST_BYTES:,} are read")
        return _checked(Image.open(io.BytesIO(data), formats=FORMATS))
    except UnidentifiedImageError:
        raise DataError(f"cannot read image {quoted(name)}: it is no {_FORMATS}; replace the file") from None
    except Exception as error:  # decoders raise whatever they meet: RuntimeError, struct.error, MemoryError ...
        raise DataError(f"cannot read image {quoted(name)}: {reason(error)}; replace the file") from error


def open_image(source: object, name: str = "") -> Image.Image:
    """Reads an image in whatever form a caller has it.

    Args:
        source: Path of a PNG, JPEG, WebP, GIF, BMP or TIFF file, or such a file's bytes; a PIL image; or a numpy or
            JAX array of uint8 [height, width], [height, width, 1], [height, width, 3] or [height, width, 4].
        name: How an error calls the image; by default its path or kind.

    Returns:
        RGB, upright; see `upright_rgb`.

    Raises:
        DataError: It is missing, no regular file, damaged, too large or of another form.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        return decode(bytes(source), name or "bytes")
    if isinstance(source, (str, os.PathLike)):
        path = os.fsdecode(source)
        return decode(_read(path), name or path)
    try:
        if isinstance(source, Image.Image):
            return _from_pillow(source)
        if isinstance(source, (np.ndarray, jax.Array)):
            return _from_array(np.asarray(source))
    except Exception as error:  # as in decode
        raise DataError(f"cannot read image {quoted(name or type(source).__name__)}: {reason(error)}") from error
    given = quoted(name) if name else f"of type {type(source).__name__}"
    raise DataError(f"cannot read image {given}: give the path or the bytes of a file, a PIL image or a uint8 array")


def _read(path: str) -> bytes:
    if "://" in path:
        raise DataError(
            f"cannot read image {quoted(path)}: URLs are not fetched; download it and give the file's path"
        )
    try:
        return read_whole(path, MOST_BYTES)
    except FileNotFoundError:
        raise DataError(f"image {quoted(path)} is missing; give the path of a file") from None
    except (OSError, ValueError) as error:  # ValueError: a zero byte or half a surrogate in the path
        raise DataError(f"cannot read image {quoted(path)}: {reason(error)}; give the path of a file") from None


def _from_pillow(image: Image.Image) -> Image.Image:
    # An image that was opened is decoded only now: no decoder beyond the safe ones may start.
    if isinstance(image, ImageFile.ImageFile) and image.format not in (*FORMATS, "MPO"):
        raise DataError(f'it was opened from a file of format {image.format}; convert it first: image.convert("RGB")')
    _ignore_warnings_of_pillow()
    return _checked(image)


def _from_array(array: np.ndarray) -> Image.Image:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4):
        raise DataError(
            f"an array of {array.dtype} {list(array.shape)} is no image; give uint8 (0 to 255) of shape "
            "[height, width], [height, width, 1], [height, width, 3] or [height, width, 4]"
        )
    if array.size == 0:
        raise DataError(f"the array of shape {list(array.shape)} is empty")
    _check_size(array.shape[1], array.shape[0])
    return Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array).convert("RGB")


def _checked(image: Image.Image) -> Image.Image:
    """The image in RGB, decoded only once its size is known to be accepted."""
    _check_size(*image.size)
    image.load()
    return upright_rgb(image)


def _check_size(width: int, height: int) -> None:
    if not (0 < width * height <= MOST_PIXELS and max(width, height) <= LONGEST_SIDE):
        raise DataError(
            f"it has {width:,} x {height:,} pixels; "
            f"accepted are 1 to {MOST_PIXELS:,}, and up to {LONGEST_SIDE:,} in a row or column"
        )


def _ignore_warnings_of_pillow() -> None:
    """What Pillow warns of (odd metadata, sizes that are checked here) is no error where warnings are.

    `warnings.catch_warnings` would not do: batches are decoded in several threads, which share the filters.
    """
    if ("ignore", None, Warning, re.compile(_PILLOW), 0) not in warnings.filters:
        warnings.filterwarnings("ignore", module=_PILLOW)


def resize(image: Image.Image, size: int) -> Image.Image:
    """The whole image at size x size, bicubic; the aspect ratio is not kept."""
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BICUBIC)


def resize_crop(image: Image.Image, size: int) -> Image.Image:
    """The short side at `size`, bicubic, and its centre square: METER's evaluation transform.

    Of a thin image, which would be enlarged to millions of pixels that nobody sees, only the square is computed.
    """
    short = min(image.size)
    width = int(size * image.width / short)
    height = int(size * image.height / short)
    left = round((width - size) / 2)
    top = round((height - size) / 2)
    if max(image.size) <= THIN * short:
        return image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + size, top + size))
    across = image.width / width
    down = image.height / height
    # Not beyond the image by a rounding error.
    right = min((left + size) * across, image.width)
    bottom = min((top + size) * down, image.height)
    return image.resize((size, size), Image.Resampling.BICUBIC, (left * across, top * down, right, bottom))


def grouped(images: list[T], pictures: int) -> list[list[T]]:
    """The images of each picture, in order; the first pictures have one more where they cannot be shared evenly.

    Args:
        images: of an example.
        pictures: to be made of them; 0 for one of each.

    Raises:
        DataError: more pictures than images.
    """
    count = pictures or len(images)
    if count > len(images):
        raise DataError(f"data.images asks for {count} pictures of {len(images)} images; lower it")
    return [[images[i] for i in part] for part in np.array_split(np.arange(len(images)), count)]


def side_by_side(images: Sequence[Image.Image]) -> Image.Image:
    """One picture of several, from left to right, each at the height of the first.

    Where that would enlarge them to more than `MOST_ENLARGED` pixels, all are as much smaller as it takes.
    """
    if len(images) == 1:
        return images[0]
    most = max(MOST_ENLARGED, sum(image.width * image.height for image in images))
    aspects = [image.width / image.height for image in images]
    together = sum(aspects)
    height = min(images[0].height, math.isqrt(int(most / together)), int(LONGEST_SIDE / together))
    height = max(height, 1)
    widths = [min(max(round(aspect * height), 1), LONGEST_SIDE // len(images)) for aspect in aspects]
    picture = Image.new("RGB", (sum(widths), height))
    left = 0
    for image, width in zip(images, widths, strict=True):
        same = image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC)
        picture.paste(same, (left, 0))
        left += width
    return picture


def to_array(image: Image.Image, size: int, how: Resize) -> UInt8[np.ndarray, "size size 3"]:
    """The image as the pipeline ships it: square, uint8."""
    return np.asarray(resize(image, size) if how == "resize" else resize_crop(image, size))


@functools.partial(jax.jit, static_argnames="preset")
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
