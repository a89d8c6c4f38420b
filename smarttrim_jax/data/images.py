"""Encoded images to arrays on the host, and arrays to the model's range of values on the device."""

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

# The only decoders that are used. Some others of Pillow start programs (EPS).
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
_FORMATS = "PNG, JPEG, WebP, GIF, BMP or TIFF"
_PILLOW = r"PIL\."  # Pattern of Pillow's module names.
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff")
"""Suffixes of image files, in lower case."""

MOST_PIXELS = 2**30 // 4 // 3
"""Maximum number of pixels of an image: a quarter of a GiB in RGB, Pillow's own limit for decompression bombs."""
MOST_BYTES = 2**28
"""Maximum size of an image file: about that of the largest accepted image without compression."""
LONGEST_SIDE = 2**16 - 1
"""Maximum width and height in pixels, which is JPEG's limit; resizing holds as many rows of the new width."""
MOST_ENLARGED = 2**24
"""Maximum number of pixels of a picture that has more than the images it is composed of."""

T = TypeVar("T")

Resize = Literal["resize", "resize_crop"]
Preset = Literal["clip", "imagenet", "half"]

# Statistics of RGB in [0, 1]: "clip" is used by CLIP and METER, "imagenet" by DINOv2; "half" maps to [-1, 1].
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
        name: Name of the image in error messages: its file or its example.

    Returns:
        RGB image, upright; see `rgb.upright_rgb`.

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
    except Exception as error:  # Decoders raise exceptions of many types: RuntimeError, struct.error, MemoryError ...
        raise DataError(f"cannot read image {quoted(name)}: {reason(error)}; replace the file") from error


def encode_png(image: Image.Image) -> bytes:
    """Encodes an image without loss, as builders do that draw or cut the images of their records.

    Args:
        image: Image of a mode that PNG has.

    Returns:
        Contents of a PNG file.
    """
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def open_image(source: object, name: str = "") -> Image.Image:
    """Reads an image in whatever form a caller has it.

    Args:
        source: Path of a PNG, JPEG, WebP, GIF, BMP or TIFF file, or such a file's bytes; a PIL image; or a NumPy or
            JAX array of uint8 `[height, width]` or `[height, width, channels]` with 1, 3 or 4 channels.
        name: Name of the image in error messages; "" for its path or type.

    Returns:
        RGB image, upright; see `rgb.upright_rgb`.

    Raises:
        DataError: The image is missing, not a regular file, damaged, too large or of another form.
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
    except Exception as error:  # Decoders raise exceptions of many types.
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
    # An opened image is decoded only when it is loaded, so a decoder that is not accepted must be refused here.
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
    """Converts an image to RGB; it is decoded only after its size has been checked."""
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
    """Prevents Pillow's warnings (odd metadata, sizes that are checked here) from becoming errors.

    `warnings.catch_warnings` cannot be used: batches are decoded in several threads, which share the filters.
    """
    if ("ignore", None, Warning, re.compile(_PILLOW), 0) not in warnings.filters:
        warnings.filterwarnings("ignore", module=_PILLOW)


def resize(image: Image.Image, size: int) -> Image.Image:
    """Resizes the whole image to a square, bicubic; the aspect ratio is not kept: BLIP's test transform.

    It follows `transform_test` of BLIP's data/__init__.py.

    Args:
        image: Image of any size.
        size: Height and width of the result in pixels.

    Returns:
        Image of size x size pixels.
    """
    return image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BICUBIC)


def resize_crop(image: Image.Image, size: int) -> Image.Image:
    """Resizes the short side to `size`, bicubic, and crops the centre square: METER's evaluation transform.

    It is `clip_transform` (meter/transforms/transform.py), which METER with CLIP's encoder uses for every task; sizes
    are rounded as in torchvision's Resize and CenterCrop. Only the pixels of the square are computed, which saves a
    quarter of the time for a photograph of 4:3. Pillow rounds their positions to float32, and chooses the order of
    its passes by the sizes, so that some differ by 1 or 2 levels from those of an image resized and then cropped.

    Args:
        image: Image of any size.
        size: Height and width of the result in pixels.

    Returns:
        Image of size x size pixels.
    """
    short = min(image.size)
    width = int(size * image.width / short)
    height = int(size * image.height / short)
    left = round((width - size) / 2)
    top = round((height - size) / 2)
    across = image.width / width
    down = image.height / height
    # A rounding error must not lead beyond the image.
    right = min((left + size) * across, image.width)
    bottom = min((top + size) * down, image.height)
    return image.resize((size, size), Image.Resampling.BICUBIC, (left * across, top * down, right, bottom))


def grouped(images: list[T], pictures: int) -> list[list[T]]:
    """Divides the images of an example among its pictures, in order.

    Where the division leaves a remainder, the first pictures get one image more.

    Args:
        images: Images of the example.
        pictures: Number of pictures; 0 for one picture per image.

    Returns:
        The images of each picture.

    Raises:
        DataError: There are more pictures than images.
    """
    count = pictures or len(images)
    if count > len(images):
        raise DataError(f"data.images asks for {count} pictures of {len(images)} images; lower it")
    return [[images[i] for i in part] for part in np.array_split(np.arange(len(images)), count)]


def side_by_side(images: Sequence[Image.Image]) -> Image.Image:
    """Composes one picture of several images, from left to right, all at the height of the first.

    Where that would enlarge them to more than `MOST_ENLARGED` pixels, all are scaled down to that size.

    Args:
        images: RGB images; a single one is returned unchanged.

    Returns:
        RGB picture.
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
    """Converts an image to the array that the pipeline transports.

    Args:
        image: RGB image of any size.
        size: Height and width of the result in pixels.
        how: "resize" or "resize_crop".

    Returns:
        uint8 `[size, size, 3]`.
    """
    return np.asarray(resize(image, size) if how == "resize" else resize_crop(image, size))


@functools.partial(jax.jit, static_argnames="preset")
def normalize(images: UInt8[Array, "*batch 3"], preset: Preset) -> Float[Array, "*batch 3"]:
    """Normalises images for the model, on the device: they are transported as uint8, a quarter of float32.

    Args:
        images: Images `[..., height, width, 3]`, 0 to 255.
        preset: Name of the mean and standard deviation.

    Returns:
        float32 of the same shape: (image / 255 - mean) / std.
    """
    mean, std = jnp.asarray(MEAN[preset], jnp.float32), jnp.asarray(STD[preset], jnp.float32)
    return (jnp.asarray(images, jnp.float32) / 255 - mean) / std
