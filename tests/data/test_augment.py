"""METER's RandAugment."""

import numpy as np
import pytest
from PIL import Image

from smarttrim_jax.data.augment import clip_randaug

AUTOCONTRAST, ROTATE, POSTERIZE, SOLARIZE, SOLARIZE_ADD, BRIGHTNESS = 0, 2, 3, 4, 5, 8
SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y = 10, 11, 12, 13
IDENTITY = AUTOCONTRAST  # for a picture that spans 0 to 255


class Scripted(np.random.Generator):
    """A generator that chooses the given operations, with a sign."""

    def __init__(self, operations: tuple[int, int], negative: bool = False) -> None:
        super().__init__(np.random.PCG64(0))
        self.operations, self.negative = operations, negative

    def integers(self, *args: object, **kwargs: object) -> np.ndarray:
        return np.array(self.operations)

    def random(self, *args: object, **kwargs: object) -> float:
        return 0.9 if self.negative else 0.1


@pytest.fixture
def ramp() -> Image.Image:
    """Every value in every channel: 64 x 64, rising to the right and down."""
    values = np.arange(64 * 64).reshape(64, 64) // 16
    return Image.fromarray(np.stack([values, values.T, values[::-1]], -1).astype(np.uint8))


def apply(image: Image.Image, operation: int, negative: bool = False) -> np.ndarray:
    return np.asarray(clip_randaug(image, Scripted((IDENTITY, operation), negative))).astype(int)


def test_pixel_operations_have_strength_9_of_30(ramp: Image.Image) -> None:
    values = np.asarray(ramp).astype(int)
    np.testing.assert_array_equal(apply(ramp, POSTERIZE), values & 0x80)  # one bit is left
    np.testing.assert_array_equal(apply(ramp, SOLARIZE), np.where(values < 76.8, values, 255 - values))
    brighter = np.minimum(values + 33, 255)
    np.testing.assert_array_equal(apply(ramp, SOLARIZE_ADD), np.where(brighter < 128, brighter, 255 - brighter))
    np.testing.assert_allclose(apply(ramp, BRIGHTNESS), values * 0.64, atol=1)


@pytest.mark.parametrize("negative", [False, True])
def test_shifts_are_30_pixels_both_ways_and_black_comes_in(ramp: Image.Image, negative: bool) -> None:
    values = np.asarray(ramp).astype(int)
    shift = -30 if negative else 30
    for operation, axis in ((TRANSLATE_X, 1), (TRANSLATE_Y, 0)):
        expected = np.roll(values, -shift, axis)
        gone = [slice(None), slice(None)]
        gone[axis] = slice(0, 30) if negative else slice(34, 64)
        expected[tuple(gone)] = 0
        np.testing.assert_array_equal(apply(ramp, operation, negative), expected)


def test_shears_and_rotation_turn_the_way_of_the_sign(ramp: Image.Image) -> None:
    for operation in (ROTATE, SHEAR_X, SHEAR_Y):
        one, other = apply(ramp, operation), apply(ramp, operation, negative=True)
        assert (one != other).any()
    sheared = apply(ramp, SHEAR_X)
    np.testing.assert_array_equal(sheared[0], np.asarray(ramp)[0])  # the axis stays
    np.testing.assert_array_equal(sheared[40, 0], np.asarray(ramp)[40, 4])  # 0.09 a row: 3.6 pixels


def test_the_generator_alone_decides(ramp: Image.Image) -> None:
    def run(seed: int) -> list[bytes]:
        generator = np.random.default_rng(seed)
        return [clip_randaug(ramp, generator).tobytes() for _ in range(20)]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert len(set(run(1))) > 10


def test_size_and_mode_stay(ramp: Image.Image) -> None:
    image = ramp.crop((0, 0, 21, 13))
    for first in range(14):
        augmented = clip_randaug(image, Scripted((first, (first + 5) % 14)))
        assert (augmented.size, augmented.mode) == ((21, 13), "RGB")
