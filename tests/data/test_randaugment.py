"""METER's and BLIP's RandAugment."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from smarttrim_jax.data.randaugment import blip_randaug, clip_randaug

AUTOCONTRAST, ROTATE, POSTERIZE, SOLARIZE, SOLARIZE_ADD, BRIGHTNESS = 0, 2, 3, 4, 5, 8
SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y = 10, 11, 12, 13
IDENTITY = AUTOCONTRAST  # for a picture that spans 0 to 255
BLIP_OPERATIONS = 10
BLIP_AUTOCONTRAST, BLIP_BRIGHTNESS, BLIP_SHARPNESS, BLIP_EQUALIZE = 1, 2, 3, 4
BLIP_SHEAR_X, BLIP_SHEAR_Y, BLIP_TRANSLATE_X, BLIP_TRANSLATE_Y, BLIP_ROTATE = 5, 6, 7, 8, 9
SIZES = [(1, 1), (1, 2000), (2000, 1), (2, 3), (24, 24), (31, 17)]  # height and width

Source = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


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


class ScriptedBlip(Scripted):
    """A generator that applies the given operations of BLIP's, with a sign."""

    def __init__(self, operations: tuple[int, int], negative: bool = False) -> None:
        super().__init__(operations, negative)
        self.calls = 0

    def random(self, *args: object, **kwargs: object) -> float:
        self.calls += 1
        decides_whether = self.calls % 2 == 1
        return 0.1 if decides_whether else super().random()


def noise(shape: tuple[int, int], seed: int = 0, low: int = 0, high: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, (*shape, 3), np.uint8)


def apply_blip(pixels: np.ndarray, operation: int, negative: bool = False) -> np.ndarray:
    generator = ScriptedBlip((0, operation), negative)
    augmented = blip_randaug(Image.fromarray(pixels), generator)
    assert augmented.mode == "RGB"
    return np.asarray(augmented).astype(int)


def warped(pixels: np.ndarray, source: Source) -> np.ndarray:
    """OpenCV's warpAffine without its rounding: a pixel is interpolated at its source, 128 lies outside."""
    height, width = pixels.shape[:2]
    surrounded = np.full((height + 4, width + 4, 3), 128.0)
    surrounded[2:-2, 2:-2] = pixels
    x, y = source(*np.meshgrid(np.arange(width, dtype=float), np.arange(height, dtype=float)))
    x = x.clip(-2, width + 0.999) + 2
    y = y.clip(-2, height + 0.999) + 2
    left, top = x.astype(int), y.astype(int)
    right_share, low_share = (x - left)[..., None], (y - top)[..., None]
    upper = surrounded[top, left] * (1 - right_share) + surrounded[top, left + 1] * right_share
    lower = surrounded[top + 1, left] * (1 - right_share) + surrounded[top + 1, left + 1] * right_share
    return upper * (1 - low_share) + lower * low_share


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("negative", [False, True])
def test_blip_warps_as_opencv_defines_it(shape: tuple[int, int], negative: bool) -> None:
    pixels = noise(shape)
    sign = -1 if negative else 1
    middle_x, middle_y = shape[1] / 2, shape[0] / 2
    cos, sin = math.cos(math.radians(15)), sign * math.sin(math.radians(15))

    def rotated(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        right, down = x - middle_x, y - middle_y
        return cos * right - sin * down + middle_x, sin * right + cos * down + middle_y

    sources = {
        BLIP_SHEAR_X: lambda x, y: (x - sign * 0.15 * y, y),
        BLIP_SHEAR_Y: lambda x, y: (x, y - sign * 0.15 * x),
        BLIP_TRANSLATE_X: lambda x, y: (x + sign * 5, y),
        BLIP_TRANSLATE_Y: lambda x, y: (x, y + sign * 5),
        BLIP_ROTATE: rotated,
    }
    for operation, source in sources.items():
        # Pillow cuts fractions of a level off. OpenCV 4 rounds positions to 1/32 of a pixel: up to 6 levels in noise.
        difference = warped(pixels, source) - apply_blip(pixels, operation, negative)
        assert difference.min() > -1e-6
        assert difference.max() < 1 + 1e-6


def stretched(channel: np.ndarray) -> np.ndarray:
    low, high = int(channel.min()), int(channel.max())
    if low == high:
        return channel.astype(int)
    return np.floor((channel.astype(float) - low) * 255 / (high - low) + 1e-9).astype(int)


def equalized(channel: np.ndarray) -> np.ndarray:
    counts = np.bincount(channel.ravel(), minlength=256)
    step = (counts.sum() - counts[counts > 0][-1]) // 255
    if step == 0:
        return channel.astype(int)
    below = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.minimum((below + step // 2) // step, 255)[channel]


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("levels", [(0, 256), (40, 60), (7, 8)])
def test_blip_stretches_and_equalizes_each_channel(shape: tuple[int, int], levels: tuple[int, int]) -> None:
    pixels = noise(shape, 1, *levels)
    pixels[..., 1] //= 2
    definitions = {BLIP_AUTOCONTRAST: stretched, BLIP_EQUALIZE: equalized}
    for operation, definition in definitions.items():
        expected = np.stack([definition(pixels[..., channel]) for channel in range(3)], -1)
        tolerance = 1 if operation == BLIP_AUTOCONTRAST else 0  # Level * scale + offset may end just below a number.
        assert abs(apply_blip(pixels, operation) - expected).max() <= tolerance


def test_blips_brightness_and_sharpness_have_strength_one_which_changes_nothing() -> None:
    pixels = noise((24, 31))
    factor = 5 / 10 * 1.8 + 0.1
    assert factor == 1
    for operation, enhancer in ((BLIP_BRIGHTNESS, ImageEnhance.Brightness), (BLIP_SHARPNESS, ImageEnhance.Sharpness)):
        expected = enhancer(Image.fromarray(pixels)).enhance(factor)
        np.testing.assert_array_equal(apply_blip(pixels, operation), np.asarray(expected))


def test_two_of_blips_operations_are_drawn_and_each_applied_half_of_the_time() -> None:
    pixels = Image.fromarray(noise((24, 31), 2, 40, 200))
    results = {apply_blip(np.asarray(pixels), k, negative).tobytes() for k in range(10) for negative in (False, True)}
    assert len(results) == 13  # Itself, 2 of the levels, and 5 warps of either sign.
    generator = np.random.default_rng(0)
    unchanged = sum(blip_randaug(pixels, generator) == pixels for _ in range(2000)) / 2000
    # Either draw leaves the image alone with 1 - .5 * 7 / 10 = .65; two opposite shifts do not restore the edge.
    assert abs(unchanged - 0.65**2) < 0.04


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("randaug", [clip_randaug, blip_randaug])
def test_any_image_stays_of_its_size_and_grey_stays_grey(
    shape: tuple[int, int], randaug: Callable[[Image.Image, np.random.Generator], Image.Image]
) -> None:
    grey = Image.fromarray(np.repeat(noise(shape)[..., :1], 3, -1))
    for seed in range(40):
        augmented, again = (randaug(grey, np.random.default_rng(seed)) for _ in range(2))
        assert augmented == again
        assert (augmented.size, augmented.mode) == (grey.size, "RGB")
        levels = np.asarray(augmented).astype(int)
        assert np.ptp(levels, axis=-1).max() <= 1  # METER's colour operation rounds each channel on its own.
