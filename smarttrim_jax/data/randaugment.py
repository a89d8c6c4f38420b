"""RandAugment as METER and BLIP use it for fine-tuning: two random operations of one strength.

METER's is `RandAugment(2, 9)`: 14 operations, strength 9 of 30 (meter/transforms/randaug.py). BLIP's is
`RandomAugment(2, 5)`: 10 operations, strength 5 of 10, applied with probability .5 (transform/randaugment.py).
"""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

OPERATIONS_PER_IMAGE = 2
METER_STRENGTH = 9 / 30
BLIP_STRENGTH = 5 / 10
BLIP_PROBABILITY = 0.5
BLIP_FILL = (128, 128, 128)

Operation = Callable[[Image.Image, float], Image.Image]


def _affine(image: Image.Image, x: tuple[float, float], y: tuple[float, float]) -> Image.Image:
    """Applies shear (first number) and shift in pixels (second) along each axis; pixels from outside are black."""
    (shear_x, shift_x), (shear_y, shift_y) = x, y
    coefficients = (1, shear_x, shift_x, shear_y, 1, shift_y)
    return image.transform(image.size, Image.Transform.AFFINE, coefficients)


def _solarize_add(image: Image.Image, amount: float) -> Image.Image:
    """Brightens by `amount`, then inverts levels of 128 and above."""
    return ImageOps.solarize(image.point(lambda level: level + int(amount)), 128)


# Operation, weakest and strongest value, and whether the sign is random.
_METER_OPERATIONS: tuple[tuple[Operation, float, float, bool], ...] = (
    (lambda image, _: ImageOps.autocontrast(image), 0, 1, False),
    (lambda image, _: ImageOps.equalize(image), 0, 1, False),
    (lambda image, degrees: image.rotate(degrees), 0, 30, True),
    (lambda image, bits: ImageOps.posterize(image, max(1, int(bits))), 0, 4, False),
    (lambda image, threshold: ImageOps.solarize(image, math.ceil(threshold)), 0, 256, False),
    (_solarize_add, 0, 110, False),
    (lambda image, factor: ImageEnhance.Color(image).enhance(factor), 0.1, 1.9, False),
    (lambda image, factor: ImageEnhance.Contrast(image).enhance(factor), 0.1, 1.9, False),
    (lambda image, factor: ImageEnhance.Brightness(image).enhance(factor), 0.1, 1.9, False),
    (lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor), 0.1, 1.9, False),
    (lambda image, shear: _affine(image, (shear, 0), (0, 0)), 0, 0.3, True),
    (lambda image, shear: _affine(image, (0, 0), (shear, 0)), 0, 0.3, True),
    (lambda image, pixels: _affine(image, (0, pixels), (0, 0)), 0, 100, True),
    (lambda image, pixels: _affine(image, (0, 0), (0, pixels)), 0, 100, True),
)


def clip_randaug(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Applies two random operations of METER's, possibly the same one twice; call it before resizing.

    Args:
        image: RGB image of any size.
        generator: The only source of randomness.

    Returns:
        RGB image of the same size.
    """
    for choice in generator.integers(len(_METER_OPERATIONS), size=OPERATIONS_PER_IMAGE):
        operation, weakest, strongest, signed = _METER_OPERATIONS[choice]
        value = weakest + METER_STRENGTH * (strongest - weakest)
        if signed and generator.random() > 0.5:
            value = -value
        image = operation(image, value)
    return image


def _warp(image: Image.Image, x: tuple[float, float, float], y: tuple[float, float, float]) -> Image.Image:
    """Fetches each pixel (column, row) from `x . (column, row, 1)`, `y . (column, row, 1)`, bilinear, as OpenCV does.

    Whole numbers are the centres of pixels, and the image fades into the grey that surrounds it. For Pillow the
    centres lie at halves and the image ends abruptly; hence the shifts by a half, and a border of one grey pixel.
    """
    surrounded = ImageOps.expand(image, 1, BLIP_FILL)
    coefficients = [part for a, b, c in (x, y) for part in (a, b, c + 1.5 - (a + b) / 2)]
    return surrounded.transform(
        image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR, fillcolor=BLIP_FILL
    )


def _rotate(image: Image.Image, degrees: float) -> Image.Image:
    """Rotates counter-clockwise about (width / 2, height / 2), which is half a pixel off the middle as in BLIP."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    middle_x, middle_y = image.width / 2, image.height / 2
    x = (cos, -sin, middle_x - cos * middle_x + sin * middle_y)
    y = (sin, cos, middle_y - sin * middle_x - cos * middle_y)
    return _warp(image, x, y)


def _unchanged(image: Image.Image, _: float) -> Image.Image:
    return image


# Operation and strongest value; the sign is random. BLIP's AutoContrast says that it gives what Pillow's gives, but
# computes `-low` in uint8, so that a channel without a pixel of level 0 becomes white. This one is Pillow's.
_BLIP_OPERATIONS: tuple[tuple[Operation, float], ...] = (
    (_unchanged, 0),  # Identity
    (lambda image, _: ImageOps.autocontrast(image), 0),
    (_unchanged, 0),  # Brightness: the factor 1.8 * 5 / 10 + 0.1 is 1.
    (_unchanged, 0),  # Sharpness: likewise.
    (lambda image, _: ImageOps.equalize(image), 0),
    (lambda image, shear: _warp(image, (1, -shear, 0), (0, 1, 0)), 0.3),
    (lambda image, shear: _warp(image, (1, 0, 0), (-shear, 1, 0)), 0.3),
    (lambda image, pixels: _warp(image, (1, 0, pixels), (0, 1, 0)), 10),
    (lambda image, pixels: _warp(image, (1, 0, 0), (0, 1, pixels)), 10),
    (_rotate, 30),
)


def blip_randaug(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Draws two operations of BLIP's and applies each with probability .5; call it after resizing.

    Args:
        image: RGB image of any size; shifts are 5 pixels whatever its size.
        generator: The only source of randomness.

    Returns:
        RGB image of the same size.
    """
    for choice in generator.integers(len(_BLIP_OPERATIONS), size=OPERATIONS_PER_IMAGE):
        if generator.random() > BLIP_PROBABILITY:
            continue
        operation, strongest = _BLIP_OPERATIONS[choice]
        sign = -1 if generator.random() > 0.5 else 1
        image = operation(image, sign * BLIP_STRENGTH * strongest)
    return image
