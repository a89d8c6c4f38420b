"""Captions of easy-VQA's images: what their questions tell, and nothing else."""

import pathlib

import pytest

from smarttrim_jax.data.builders.easy_vqa_captions import CAPTIONS, EasyVQACaptions


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> EasyVQACaptions:
    return EasyVQACaptions(str(make_folder(tmp_path_factory.mktemp("easy"))))


def make_folder(folder: pathlib.Path) -> pathlib.Path:
    (folder / "answers.txt").write_text("circle\nred\nyes\nno")
    return folder


@pytest.mark.parametrize(
    ("questions", "caption"),
    [
        ([["what is the red shape?", "triangle"]], "a red triangle"),
        ([["what color is the shape?", "teal"], ["is there not a circle?", "no"]], "a teal circle"),
        ([["does the image contain a gray shape?", "yes"], ["is a circle present?", "yes"]], "a gray circle"),
        ([["is there a circle?", "no"], ["what color is the shape?", "teal"]], None),
        ([["is no blue shape present?", "yes"], ["is there a circle?", "yes"]], None),
        ([["what is the red shape?", "circle"], ["is there a triangle?", "yes"]], None),
    ],
)
def test_shape_and_color_are_what_the_answers_tell(builder, questions, caption) -> None:
    found = builder._examples_of([[question, answer, 7] for question, answer in questions])
    assert list(found) == ([] if caption is None else [(caption, caption, 7)])


def test_the_published_questions_tell_most_images() -> None:
    pytest.importorskip("easy_vqa", reason="the data comes with: pip install easy-vqa")
    published = EasyVQACaptions()
    found = {split: published.examples(split) for split in ("train", "test")}
    assert {split: len(examples) for split, examples in found.items()} == {"train": 3180 + 362, "test": 880}
    assert {caption for caption, *_ in found["train"]} == set(CAPTIONS)
