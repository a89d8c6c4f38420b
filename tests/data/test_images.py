"""Decoding, resizing and normalising images."""

import io

import jax
import numpy as np
import pytest
from PIL import Image

from smarttrim_jax.data import images
from smarttrim_jax.data.randaugment import clip_randaug
from smarttrim_jax.errors import DataError


def encode(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.fixture
def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))


def test_a_png_comes_back_pixel_for_pixel(noise: Image.Image) -> None:
    np.testing.assert_array_equal(np.asarray(images.decode(encode(noise), "x")), np.asarray(noise))


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_every_mode_becomes_rgb(noise: Image.Image, mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert images.decode(encode(noise.convert(mode), kind), "x").mode == "RGB"


def test_transparency_is_dropped_not_blended() -> None:
    pixels = np.full((2, 2, 4), (10, 20, 30, 0), np.uint8)
    decoded = images.decode(encode(Image.fromarray(pixels)), "x")
    assert decoded.getpixel((0, 0)) == (10, 20, 30)


def test_a_palette_with_transparency_becomes_its_colours() -> None:
    palette = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    file = io.BytesIO()
    palette.save(file, "PNG", transparency=bytes([0, 128]))
    decoded = images.decode(file.getvalue(), "x")
    assert [decoded.getpixel((x, 0)) for x in (0, 1)] == [(10, 20, 30), (40, 50, 60)]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_file_is_an_error_that_names_it(noise: Image.Image, kind: str) -> None:
    data = encode(noise, kind)
    for length in (0, 1, 20, 40, len(data) // 2, len(data) * 3 // 4):
        with pytest.raises(DataError, match=r"cannot read image 'some\.file'"):
            images.decode(data[:length], "some.file")


def test_damaged_bytes_never_raise_anything_but_a_data_error(noise: Image.Image) -> None:
    data = encode(noise)
    failures = 0
    for position in range(8, 90):
        damaged = data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]
        try:
            images.decode(damaged, "x")
        except DataError:
            failures += 1
    assert failures > 40


def test_resize_takes_the_whole_image_and_leaves_a_fitting_one_alone(noise: Image.Image) -> None:
    half = np.zeros((10, 40, 3), np.uint8)
    half[:, 20:] = 255
    small = images.to_array(Image.fromarray(half), 10, "resize")
    assert small.shape == (10, 10, 3)
    assert small[:, :4].max() == 0
    assert small[:, 6:].min() == 255
    assert images.resize(noise.crop((0, 0, 20, 20)), 20).tobytes() == noise.crop((0, 0, 20, 20)).tobytes()


def test_resize_crop_keeps_the_shape_and_takes_the_centre() -> None:
    stripes = np.zeros((10, 40, 3), np.uint8)
    stripes[:, 15:25] = 200  # the centre square of a 4:1 picture
    assert (images.to_array(Image.fromarray(stripes), 10, "resize_crop") == 200).all()
    tall = images.to_array(Image.fromarray(np.swapaxes(stripes, 0, 1).copy()), 10, "resize_crop")
    assert (tall == 200).all()


@pytest.mark.parametrize("shape", [(33, 47), (47, 33), (20, 20), (100, 3)])
def test_resize_crop_is_square_for_any_shape(shape: tuple[int, int]) -> None:
    image = Image.fromarray(np.full((*shape, 3), 7, np.uint8))
    array = images.to_array(image, 20, "resize_crop")
    assert array.shape == (20, 20, 3)
    assert (array == 7).all()  # nothing from outside the picture


def resized_then_cropped(image: Image.Image, size: int) -> np.ndarray:
    short = min(image.size)
    width, height = int(size * image.width / short), int(size * image.height / short)
    left, top = round((width - size) / 2), round((height - size) / 2)
    whole = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(whole.crop((left, top, left + size, top + size)))


def test_resize_crop_is_a_resize_and_a_crop_at_every_size() -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        width, height = (int(10 ** rng.uniform(0, 2.5)) for _ in range(2))
        size = int(rng.integers(1, 100))
        # Smooth: where a kernel overshoots 8 bits the order of its passes shows, which Pillow chooses by the sizes.
        small = Image.fromarray(rng.integers(60, 200, (3, 4, 3), np.uint8))
        image = small.resize((width, height), Image.Resampling.BILINEAR)
        expected = resized_then_cropped(image, size).astype(int)
        assert abs(images.to_array(image, size, "resize_crop") - expected).max() <= 2


def bicubic(values: np.ndarray, length: int, axis: int) -> np.ndarray:
    """Pillow's bicubic resampling of one axis by its definition, rounded to 8 bits."""
    scale = values.shape[axis] / length
    centres = (np.arange(length)[:, None] + 0.5) * scale
    # Keys' kernel with a = -0.5, widened where the image shrinks; what lies outside of the image has no weight.
    distance = abs(np.arange(values.shape[axis]) + 0.5 - centres) / max(scale, 1)
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = np.where(distance < 1, near, np.where(distance < 2, far, 0))
    weights /= weights.sum(1, keepdims=True)
    resampled = np.moveaxis(np.tensordot(weights, values, (1, axis)), 0, axis)
    return (resampled + 0.5).clip(0, 255).astype(np.uint8)


def assert_resized(array: np.ndarray, pixels: np.ndarray, height: int, width: int, crop: tuple[int, int]) -> None:
    """Compares with a resampling of both axes, of which the square at `crop` (top, left) is left."""
    # Early versions of Pillow resample rows first, later ones whichever axis is cheaper: the results differ where the
    # first overshoots 8 bits. Weights have 22 bits, so that a value between two levels may fall to the other one.
    orders = (
        bicubic(bicubic(pixels, width, 1), height, 0),
        bicubic(bicubic(pixels, height, 0), width, 1),
    )
    top, left = crop
    size = len(array)
    squares = [whole[top : top + size, left : left + size].astype(int) for whole in orders]
    assert min(abs(array - square).max() for square in squares) <= 1


SHAPES = [(1, 1), (1, 9), (9, 1), (24, 24), (37, 53), (53, 37), (10, 151), (151, 10), (12, 90)]  # height and width


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1, 7, 24, 40])
def test_resize_is_blips_test_transform_by_its_definition(shape: tuple[int, int], size: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    array = images.to_array(Image.fromarray(pixels), size, "resize")
    assert (array.shape, array.dtype) == ((size, size, 3), np.uint8)
    assert_resized(array, pixels, size, size, (0, 0))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1, 7, 24, 40])
def test_resize_crop_is_meters_clip_transform_by_its_definition(shape: tuple[int, int], size: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    array = images.to_array(Image.fromarray(pixels), size, "resize_crop")
    assert (array.shape, array.dtype) == ((size, size, 3), np.uint8)
    short = min(shape)
    height, width = (size if side == short else int(size * side / short) for side in shape)
    crop = (round((height - size) / 2), round((width - size) / 2))  # CenterCrop rounds halves to even
    assert_resized(array, pixels, height, width, crop)


def test_the_long_side_and_the_crop_are_rounded_as_torchvision_does(monkeypatch: pytest.MonkeyPatch) -> None:
    boxes = []
    monkeypatch.setattr(Image.Image, "resize", lambda self, size, how, box: boxes.append(box) or self)
    for (width, height), size, resized, corner in [
        ((640, 480), 384, (512, 384), (64, 0)),
        ((480, 640), 384, (384, 512), (0, 64)),
        ((500, 375), 288, (384, 288), (48, 0)),
        ((640, 427), 576, (863, 576), (144, 0)),  # 863.3 is cut off; (863 - 576) / 2 = 143.5 becomes 144, even
        ((427, 640), 224, (224, 335), (0, 56)),  # 335.7 is cut off; 55.5 becomes 56, even
        ((333, 500), 226, (226, 339), (0, 56)),  # 56.5 becomes 56, even
        ((7, 7), 5, (5, 5), (0, 0)),
    ]:
        images.resize_crop(Image.new("RGB", (width, height)), size)
        across, down = width / resized[0], height / resized[1]
        left, top = corner
        expected = (left * across, top * down, (left + size) * across, (top + size) * down)
        np.testing.assert_allclose(boxes.pop(), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(1, 2000), (2000, 1), (1, 30_000), (30_000, 1), (1, 65_535), (65_535, 1), (7, 9)])
def test_thin_images_cost_no_more_than_what_is_made_of_them(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    resize = Image.Image.resize

    def counted(self: Image.Image, size: tuple[int, int], *rest: object) -> Image.Image:
        made.append(size[0] * size[1])
        return resize(self, size, *rest)

    monkeypatch.setattr(Image.Image, "resize", counted)
    thin = Image.fromarray(np.full((*shape, 3), 7, np.uint8))
    generator = np.random.default_rng(0)
    for how in ("resize", "resize_crop"):
        assert (images.to_array(thin, 64, how) == 7).all()
        for _ in range(5):
            images.to_array(clip_randaug(thin, generator), 64, how)
    assert max(made) <= 2**16
    for other in ((1, 2000), (30_000, 1), (5, 5)):
        pair = images.side_by_side([thin, Image.fromarray(np.full((*other, 3), 7, np.uint8))])
        assert pair.width * pair.height <= images.MOST_ENLARGED
        assert max(pair.size) <= images.LONGEST_SIDE
        assert (images.to_array(pair, 8, "resize_crop") == 7).all()


def test_normalize_follows_each_preset() -> None:
    pixels = np.array([[[0, 128, 255]]], np.uint8)
    for preset in ("clip", "half"):
        expected = (pixels / 255 - np.array(images.MEAN[preset])) / np.array(images.STD[preset])
        normalized = jax.jit(lambda x, preset=preset: images.normalize(x, preset))(pixels)
        assert normalized.dtype == np.float32
        np.testing.assert_allclose(normalized, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(images.normalize(pixels, "half")[0, 0, [0, 2]], [-1, 1])
