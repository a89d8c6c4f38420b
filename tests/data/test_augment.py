"""BLIP's random crop, mirroring and swap of two images."""

import io
import math
import types

import numpy as np
import pytest
from PIL import Image

from smarttrim_jax.data.augment import augmented, random_resized_crop
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.examples import Examples
from smarttrim_jax.data.text import TextEncoder
from smarttrim_jax.errors import DataError

SIZES = [(1, 1), (1, 2000), (2000, 1), (2, 3), (24, 24), (64, 48), (48, 64), (90, 31)]  # width and height


def positions(width: int, height: int) -> Image.Image:
    """An image whose red tells the column and whose green tells the row, from 0 to 255."""
    columns, rows = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([columns, rows, np.zeros_like(rows)], -1).round().astype(np.uint8))


class Recorded(Image.Image):
    """An image that notes the box of its crop."""

    def crop(self, box: tuple[int, int, int, int] | None = None) -> Image.Image:  # type: ignore[override]
        self.box = box
        return super().crop(box)


def drawn_boxes(width: int, height: int, count: int) -> np.ndarray:
    """Left, top, width and height of crops, [count, 4]."""
    generator = np.random.default_rng(width)
    boxes = []
    for _ in range(count):
        image = Recorded()
        image.__dict__.update(Image.new("RGB", (width, height)).__dict__)
        random_resized_crop(image, 4, generator)
        left, top, right, bottom = image.box
        boxes.append((left, top, right - left, bottom - top))
    return np.array(boxes)


def test_a_crop_has_half_to_all_of_the_area_and_lies_anywhere() -> None:
    left, top, width, height = drawn_boxes(640, 480, 4000).T
    area = width * height / (640 * 480)
    ratio = width / height
    assert 0.497 < area.min() < 0.51
    assert 0.97 < area.max() <= 1
    assert 0.745 < ratio.min() < 0.77
    assert 1.30 < ratio.max() < 1.34
    assert (left >= 0).all()
    assert (top >= 0).all()
    assert (left + width <= 640).all()
    assert (top + height <= 480).all()
    room = left[width < 600] / (640 - width[width < 600])
    np.testing.assert_allclose(np.percentile(room, [0, 25, 50, 75, 100]), [0, 0.25, 0.5, 0.75, 1], atol=0.03)


def test_area_and_ratio_are_drawn_evenly_where_nothing_is_refused() -> None:
    # Of a square at most .75 of the area always fits, so that draws below it are as they come.
    _, _, width, height = drawn_boxes(1000, 1000, 6000).T
    area = width * height / 1e6
    fitting = area < 0.74
    ratio = np.log(width / height)[fitting] / math.log(4 / 3)
    np.testing.assert_allclose(np.percentile(area[fitting], [25, 50, 75]), [0.56, 0.62, 0.68], atol=0.01)
    np.testing.assert_allclose(np.percentile(ratio, [25, 50, 75]), [-0.5, 0, 0.5], atol=0.05)


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((1, 2000), (0, 999, 1, 1)),
        ((2000, 1), (999, 0, 1, 1)),
        ((30, 900), (0, 430, 30, 40)),
        ((900, 30), (430, 0, 40, 30)),
    ],
)
def test_of_a_thin_image_the_middle_of_the_nearest_ratio_is_taken(
    size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    assert {tuple(each) for each in drawn_boxes(*size, 5).tolist()} == {box}


def test_a_crop_is_cut_out_before_it_is_resized() -> None:
    image = Image.new("RGB", (40, 40), (255, 0, 0))
    image.paste((0, 0, 0), (0, 0, 20, 40))

    class Right(np.random.Generator):
        """Draws half of the area, of ratio 3/4 ... and the last column."""

        def uniform(self, low: float, high: float) -> float:  # type: ignore[override]
            return low

        def integers(self, count: int) -> int:  # type: ignore[override]
            return count - 1

    part = image.crop((40 - 24, 40 - 33, 40, 40)).resize((50, 50), Image.Resampling.BICUBIC)
    pixels = random_resized_crop(image, 50, Right(np.random.PCG64(0)))
    # sqrt(800 * 3/4) = 24.49 columns and sqrt(800 / (3/4)) = 32.66 rows
    np.testing.assert_array_equal(np.asarray(pixels), np.asarray(part))


@pytest.mark.parametrize("size", SIZES)
def test_blip_makes_any_image_a_square_and_the_generator_alone_decides(size: tuple[int, int]) -> None:
    image = positions(*size)
    for seed in range(20):
        first, again = (augmented(image, "blip", 32, np.random.default_rng(seed)) for _ in range(2))
        assert (first.size, first.mode) == ((32, 32), "RGB")
        assert first == again


def test_half_of_blips_images_are_mirrored() -> None:
    image = positions(64, 48)
    generator = np.random.default_rng(0)
    mirrored = []
    for _ in range(400):
        columns = np.asarray(augmented(image, "blip", 16, generator)).astype(int)[8, 4:12, 0]
        mirrored.append(columns[0] > columns[-1])
    assert 0.4 < np.mean(mirrored) < 0.6


def test_none_leaves_an_image_and_the_generator_alone() -> None:
    generator = np.random.default_rng(0)
    before = generator.bit_generator.state
    image = positions(5, 7)
    assert augmented(image, "none", 3, generator) is image
    assert generator.bit_generator.state == before


TEXT = TextEncoder.train(["the left one", "the right one"] * 2, 6)


def stand_in(images: list[int], augment: str) -> Examples:
    """Examples of one record: images of one grey each, and a text about the left one."""
    files = []
    for grey in images:
        file = io.BytesIO()
        Image.new("RGB", (8, 8), (grey, grey, grey)).save(file, "PNG")
        files.append(file.getvalue())
    record = {"id": b"pair", "images": files, "text": b"the left one", "answer": 1}
    dataset = types.SimpleNamespace(
        records=lambda split: [record],
        text=TEXT,
        most_answers=0,
        kind="answer",
    )
    config = DataConfig(dataset="", image_size=8, text_length=6, batch_size=1, augment=augment)
    return Examples(dataset, "train", config)


def test_nlvr2_swaps_images_and_sides_together_but_never_in_evaluation() -> None:
    examples = stand_in([0, 255], "blip_nlvr2")
    words = {}
    for side in ("left", "right"):
        ids, _ = TEXT.encode(f"the {side} one")
        words[ids.tobytes()] = side
    seen = set()
    for seed in range(60):
        example = examples.get(0, np.random.default_rng(seed))
        dark = int(np.median(example["image"][0]) > np.median(example["image"][1]))
        seen.add((dark, words[example["text_ids"].tobytes()]))
    assert seen == {(0, "left"), (1, "right")}
    plain = examples.get(0)
    assert words[plain["text_ids"].tobytes()] == "left"
    assert [int(image[0, 0, 0]) for image in plain["image"]] == [0, 255]
    kept = {stand_in([0, 255], "blip").get(0, np.random.default_rng(s))["text_ids"].tobytes() for s in range(20)}
    assert {words[ids] for ids in kept} == {"left"}


@pytest.mark.parametrize("images", [[3], [1, 2, 3]])
def test_nlvr2_wants_two_images(images: list[int]) -> None:
    examples = stand_in(images, "blip_nlvr2")
    with pytest.raises(DataError, match=rf"'pair' has {len(images)}; take 'blip'"):
        examples.get(0, np.random.default_rng(0))
    examples.get(0)
