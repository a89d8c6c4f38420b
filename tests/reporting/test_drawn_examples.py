"""Pictures of examples: everything that was asked, answered, found and kept is in them."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from explained import explanation
from PIL import Image

from smarttrim_jax.reporting.picture import MARGIN, draw
from smarttrim_jax.reporting.sheet import Sheet
from smarttrim_jax.reporting.side_by_side import by_image, closing_layers, draw_side_by_side
from smarttrim_jax.reporting.tiles import SIDE, resized, tile
from smarttrim_jax.serving.retrieved import Candidate, Retrieved

UNUSUAL = (
    "",
    " ",
    "ça va, größer?",
    "какой это цвет?",
    "これは何色ですか",
    "😀 \u200d\u202e",
    "a\nb\tc\0d",
    "\udc80",
    "x" * 500,
)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that are written on sheets."""
    texts: list[str] = []
    write = Sheet.text

    def text(sheet: Sheet, x: int, y: int, text: str, *rest: Any, **more: Any) -> int:
        texts.append(text)
        return write(sheet, x, y, text, *rest, **more)

    monkeypatch.setattr(Sheet, "text", text)
    return texts


def holds(picture: Image.Image, part: np.ndarray) -> bool:
    """Whether a picture holds an image, anywhere on the lines of its upper left pixels."""
    whole = np.asarray(picture)
    height, width, _ = part.shape
    starts = np.argwhere((whole[: len(whole) - height + 1, : whole.shape[1] - width + 1] == part[0, 0]).all(axis=-1))
    return any(np.array_equal(whole[y : y + height, x : x + width], part) for y, x in starts)


@pytest.mark.parametrize("images", [1, 2])
def test_a_picture_shows_every_image_as_every_layer_reads_it(images: int, written: list[str]) -> None:
    example = explanation(size=75, grid=5, images=images, label="no")
    picture = draw(example)
    for number, image in enumerate(example.images):
        assert holds(picture, resized(image))
        for layer in example.patches:
            assert holds(picture, tile(image, layer[number]))
    assert {"is it blue?", "yes, but the answer is no", *example.layers, *example.words} <= set(written)
    assert {"75 % sure, 50 % of the MACs", "image 1: 25 %"} <= set(written)
    assert f"{100 * example.patches[2, 0].mean():.0f} % open" in written


def test_written_texts_stand_beside_their_references(written: list[str]) -> None:
    draw(explanation(answer="a dog", label="a cat", references=["a brown dog", "ein Hund"]))
    assert {"a dog", "reference: a brown dog", "reference: ein Hund"} <= set(written)
    assert "a dog, but the answer is a cat" not in written


def test_what_was_found_is_shown_with_its_score(written: list[str]) -> None:
    example = explanation(1)
    other = explanation(2)
    images = Retrieved([Candidate(other.images, 0.9, False), Candidate(example.images, 0.8, True)], 2, 40)
    texts = Retrieved([Candidate("it is blue", 0.7, True)], 1, 30)
    picture = draw(explanation(1, found_images=images, found_texts=texts))
    assert holds(picture, resized(other.images[0]))
    assert "images for the text: the right one is number 2 of 40" in written
    assert {"score 0.90", "score 0.80, right", "it is blue (score 0.70, right)"} <= set(written)


def test_questions_about_one_image_are_rows_of_one_picture(written: list[str]) -> None:
    image = explanation(0).images
    same = [
        dataclasses.replace(explanation(seed), images=image, text=f"question {seed}?", answer=f"answer {seed}")
        for seed in range(3)
    ]
    picture = draw_side_by_side(same)
    assert picture.width > 3 * SIDE
    assert picture.height > 3 * SIDE
    for each in same:
        assert {each.text, each.answer} <= set(written)
        assert holds(picture, tile(image[0], each.patches[2, 0]))
    assert written.count("words kept: [CLS] blue ?") == 3
    assert [len(group) for group in by_image([*same, explanation(7), same[0]])] == [4, 1]


def test_the_layers_side_by_side_are_those_that_close_patches() -> None:
    counts = [16, 16, 12, 12, 9, 8, 8, 5, 3, 3]
    patches = np.stack([np.arange(16).reshape(1, 4, 4) < count for count in counts])
    assert closing_layers([patches]) == [2, 4, 7, 8]
    assert closing_layers([patches[:6], patches[:6]]) == [2, 4, 5]
    assert closing_layers([patches[:2]]) == [1]


@pytest.mark.parametrize("text", UNUSUAL)
def test_no_text_breaks_a_picture(text: str) -> None:
    example = explanation(text=text, answer=text, label="no", words=[text] * 6)
    for picture in (draw(example), draw_side_by_side([example])):
        assert picture.width >= SIDE + 2 * MARGIN


def test_long_texts_are_divided_into_lines() -> None:
    sheet = Sheet(300, 0)
    one = sheet.text(0, 0, "word", 20, width=300)
    assert sheet.text(0, 0, "word " * 40, 20, width=300) >= 6 * one
    assert sheet.text(0, 0, "w" * 200, 20, width=300) >= 6 * one
    assert sheet.picture().height >= 6 * one
