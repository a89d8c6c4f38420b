"""Augmentation of training images, as the official METER and BLIP are fine-tuned. Evaluation never augments."""

import math
from typing import Literal

import numpy as np
from PIL import Image

from smarttrim_jax.data.randaugment import blip_randaug, clip_randaug

Augment = Literal["none", "clip_randaug", "blip", "blip_nlvr2"]

# torchvision's RandomResizedCrop with BLIP's scale (data/__init__.py), and its default ratio and number of attempts.
CROPPED_AREA = (0.5, 1.0)
CROPPED_RATIO = (3 / 4, 4 / 3)
CROP_ATTEMPTS = 10


def augmented(image: Image.Image, how: Augment, size: int, generator: np.random.Generator) -> Image.Image:
    """Augments one picture.

    Args:
        image: RGB picture of any size.
        how: "clip_randaug" applies METER's RandAugment; "blip" and "blip_nlvr2" take a random crop, resize it to a
            square, mirror it with probability .5 and apply BLIP's RandAugment; "none" does nothing.
        size: Height and width of the model's images in pixels.
        generator: The only source of randomness.

    Returns:
        RGB picture: of size x size pixels for BLIP, otherwise as large as before.
    """
    if how == "none":
        return image
    if how == "clip_randaug":
        return clip_randaug(image, generator)
    image = random_resized_crop(image, size, generator)
    if generator.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return blip_randaug(image, generator)


def random_resized_crop(image: Image.Image, size: int, generator: np.random.Generator) -> Image.Image:
    """Resizes a random part of an image to a square, bicubic, as torchvision's RandomResizedCrop does.

    The part has half to all of the area. Its aspect ratio is drawn between 3/4 and 4/3, evenly in the logarithm.
    Where ten such parts in turn do not fit, the largest central part of an accepted ratio is taken.

    Args:
        image: Image of any size.
        size: Height and width of the result in pixels.
        generator: The only source of randomness.

    Returns:
        Image of size x size pixels.
    """
    left, top, width, height = _random_part(image.width, image.height, generator)
    # Cropped first: `resize` with a box lets pixels from outside of the box into its edges.
    part = image.crop((left, top, left + width, top + height))
    return part.resize((size, size), Image.Resampling.BICUBIC)


def _random_part(width: int, height: int, generator: np.random.Generator) -> tuple[int, int, int, int]:
    """Draws left, top, width and height of a crop."""
    low, high = CROPPED_RATIO
    for _ in range(CROP_ATTEMPTS):
        area = width * height * generator.uniform(*CROPPED_AREA)
        ratio = math.exp(generator.uniform(math.log(low), math.log(high)))
        part_width = round(math.sqrt(area * ratio))
        part_height = round(math.sqrt(area / ratio))
        if 0 < part_width <= width and 0 < part_height <= height:
            left = int(generator.integers(width - part_width + 1))
            top = int(generator.integers(height - part_height + 1))
            return left, top, part_width, part_height
    part_width = min(width, round(height * high))
    part_height = min(height, round(width / low))
    return (width - part_width) // 2, (height - part_height) // 2, part_width, part_height
