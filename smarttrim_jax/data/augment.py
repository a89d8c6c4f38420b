"""RandAugment as METER uses it for fine-tuning (`clip_randaug`): 2 operations of 14, strength 9 of 30, no flip."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

OPERATIONS_PER_IMAGE = 2
STRENGTH = 9 / 30

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
_OPERATIONS: tuple[tuple[Operation, float, float, bool], ...] = (
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
    """Applies two random operations, possibly the same one twice; call it before resizing.

    Args:
        image: RGB image of any size.
        generator: The only source of randomness.

    Returns:
        RGB image of the same size.
    """
    for choice in generator.integers(len(_OPERATIONS), size=OPERATIONS_PER_IMAGE):
        operation, weakest, strongest, signed = _OPERATIONS[choice]
        value = weakest + STRENGTH * (strongest - weakest)
        if signed and generator.random() > 0.5:
            value = -value
        image = operation(image, value)
    return image
