"""Images of every mode that Pillow reads, as RGB of 8 bits."""

import numpy as np
from PIL import ExifTags, Image

from smarttrim_jax.errors import DataError

# The transposition that makes an image with an EXIF orientation upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TIFF_BITS_PER_SAMPLE, _TIFF_PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0


def upright_rgb(image: Image.Image) -> Image.Image:
    """Converts an image to what people see: turned by its EXIF orientation, in RGB.

    Transparency is dropped, as METER does; the official METER does not turn. Grey of 12 or 16 bits, and
    floating-point numbers from 0 to 1, are scaled by their range.

    Args:
        image: Image of any mode.

    Returns:
        RGB image, 8 bits per channel.

    Raises:
        DataError: The range of its values is not known.
    """
    rgb = _rgb(image)
    turn = _TURNS.get(_orientation(image))
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """Reads the EXIF orientation, 1 to 8; 1 (upright) where none can be read."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Damaged EXIF data is no reason to refuse an image.
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _scaled_grey(image).convert("RGB")
    # Colours behind transparency survive only if the image is first converted to a mode with transparency.
    way = {"P": "RGBA", "La": "LA"}.get(image.mode)
    return (image if way is None else image.convert(way)).convert("RGB")


def _scaled_grey(image: Image.Image) -> Image.Image:
    """Converts grey of more than 8 bits to 8 bits: black stays black, and white stays white."""
    tags = image.tag_v2 if image.format == "TIFF" and hasattr(image, "tag_v2") else {}
    values = np.asarray(image)
    if image.mode == "F":
        if not (values.min() >= 0 and values.max() <= 1):
            raise DataError("its floating-point numbers are not all from 0 to 1; scale them so")
        grey = (values * 255 + 0.5).astype(np.uint8)
    elif image.mode.startswith("I;16") or image.format == "PNG":  # Before Pillow 11.3, 16-bit PNG has mode "I".
        white = 2 ** tags.get(_TIFF_BITS_PER_SAMPLE, (16,))[0] - 1
        levels = (np.arange(2**16) * 255 / white + 0.5).clip(0, 255).astype(np.uint8)
        grey = levels[values]
    else:
        raise DataError("the range of its 32-bit numbers is not known; save it with 8 or 16 bits a channel")
    if tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    return Image.fromarray(grey)
