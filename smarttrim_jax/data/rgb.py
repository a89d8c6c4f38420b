"""Pictures of every kind that Pillow reads, as RGB of 8 bits."""

import numpy as np
from PIL import ExifTags, Image

from smarttrim_jax.errors import DataError

# How a picture that carries an EXIF orientation is turned to be upright.
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
    """The picture as people see it: turned as its EXIF orientation says, in RGB.

    Transparency is dropped, as METER does; the official METER does not turn. Grey of 12 or 16 bits and floating-point
    numbers from 0 to 1 are scaled by their range.

    Args:
        image: Of any mode.

    Returns:
        RGB, 8 bits a channel.

    Raises:
        DataError: Numbers whose range is not known.
    """
    rgb = _rgb(image)
    turn = _TURNS.get(_orientation(image))
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """1 to 8; 1, upright, where nothing or nothing readable is said."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF is no reason to refuse a picture
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _scaled_grey(image).convert("RGB")
    # Colours behind transparency are found on the way through the mode with transparency.
    way = {"P": "RGBA", "La": "LA"}.get(image.mode)
    return (image if way is None else image.convert(way)).convert("RGB")


def _scaled_grey(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits as grey of 8: black stays black, and white white."""
    tags = image.tag_v2 if image.format == "TIFF" and hasattr(image, "tag_v2") else {}
    values = np.asarray(image)
    if image.mode == "F":
        if not (values.min() >= 0 and values.max() <= 1):
            raise DataError("its floating-point numbers are not all from 0 to 1; scale them so")
        grey = (values * 255 + 0.5).astype(np.uint8)
    elif image.mode.startswith("I;16") or image.format == "PNG":  # PNG's 16 bits are mode "I" before Pillow 11.3
        white = 2 ** tags.get(_TIFF_BITS_PER_SAMPLE, (16,))[0] - 1
        levels = (np.arange(2**16) * 255 / white + 0.5).clip(0, 255).astype(np.uint8)
        grey = levels[values]
    else:
        raise DataError("the range of its 32-bit numbers is not known; save it with 8 or 16 bits a channel")
    if tags.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    return Image.fromarray(grey)
