"""Sort-of-CLEVR is drawn by the paper's rules: every answer follows from the picture alone."""

import collections
import dataclasses
import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from smarttrim_jax.data import Record
from smarttrim_jax.data.builders.sort_of_clevr import ANSWERS, COLORS, SIDE, SortOfCLEVR
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.errors import ConfigError

SMALL = "train_images=40,test_images=30"


def records(split: str, options: str = SMALL) -> list[Record]:
    return list(SortOfCLEVR(options=options).records(split))


def seen(picture: bytes) -> dict[str, tuple[np.ndarray, str]]:
    """Centre and shape of each colour, read off the pixels. A later object may hide a corner of an earlier one."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)))
    assert pixels.shape == (SIDE, SIDE, 3)
    found = {}
    for name, color in COLORS.items():
        places = np.argwhere((pixels == color).all(-1))  # row, column
        if len(places):
            center = (places.min(0) + places.max(0)) / 2
            found[name] = (center[::-1], "square" if len(places) > 110 else "circle")
    return found


def expected(question: str, objects: dict[str, tuple[np.ndarray, str]]) -> set[str]:
    """Answers a question in its own words; two objects at the same distance allow two answers."""
    (about,) = (name for name in COLORS if f" {name} " in question)
    center, shape = objects[about]
    others = sorted(
        (np.linalg.norm(place - center), shape) for name, (place, shape) in objects.items() if name != about
    )
    if "closest" in question or "furthest" in question:
        extreme = others[0 if "closest" in question else -1][0]
        return {shape for distance, shape in others if np.isclose(distance, extreme)}
    if "how many" in question:
        return {str([shape for _, shape in objects.values()].count(shape))}
    if "left" in question:
        return {"yes" if center[0] < SIDE / 2 else "no"}
    if "top" in question:
        return {"yes" if center[1] < SIDE / 2 else "no"}
    return {shape}


@pytest.mark.parametrize("count", [2, 6])
def test_answers_follow_from_the_pictures(count: int) -> None:
    checked = 0
    for record in records("test", f"{SMALL},objects={count}"):
        objects = seen(record.images[0])  # type: ignore[arg-type]
        assert len(objects) == count
        # Objects that touch hide pixels, from which the shape could no longer be counted.
        centers = np.array([center for center, _ in objects.values()])
        apart = np.abs(centers[:, None] - centers[None]).max(-1) + 99 * np.eye(count)
        if apart.min() > 11:
            assert record.answer in expected(record.text, objects), record.text
            checked += 1
    assert checked > 100


def test_every_image_has_ten_questions_of_each_kind() -> None:
    kinds = collections.Counter((r.images[0], r.metadata["question_type"]) for r in records("test"))
    assert set(kinds.values()) == {10}
    assert len(kinds) == 60
    assert len({record.id for record in records("test")}) == 600


def test_the_encoding_tells_colour_kind_and_question() -> None:
    texts: dict[tuple[int, ...], set[str]] = collections.defaultdict(set)
    for record in records("train"):
        code = record.metadata["encoding"]
        assert [sum(code[:6]), sum(code[6:8]), sum(code[8:])] == [1, 1, 1]
        assert list(COLORS)[code.index(1)] in record.text
        texts[tuple(code)].add(record.text)
    assert len(texts) == 36
    assert all(len(asked) == 1 for asked in texts.values())


def test_images_depend_on_the_seed_but_not_on_how_many_are_drawn() -> None:
    few, many = (records("test", f"test_images={count}") for count in (3, 5))
    assert many[: len(few)] == few
    assert records("test", "test_images=3,seed=1") != few


def test_no_image_is_in_two_splits() -> None:
    images = {split: {record.images[0] for record in records(split)} for split in ("train", "calibration", "test")}
    assert [len(images[split]) for split in images] == [38, 2, 30]
    assert not images["train"] & images["calibration"]
    assert not images["test"] & (images["train"] | images["calibration"])


def test_it_is_prepared_without_a_source(tmp_path: pathlib.Path) -> None:
    config = DataConfig("sort_of_clevr", 72, 20, 4, data_dir=str(tmp_path), options=f"{SMALL},kinds=relational")
    dataset = prepare(config)
    assert dataset.answer_names == ANSWERS
    assert dataset.split_sizes == {"train": 380, "calibration": 20, "test": 300}
    assert sum(shard.records for shard in dataset.prepared.images) == 70
    assert dataset.records("test")[0]["metadata"]["question_type"] == "relational"
    other = prepare(dataclasses.replace(config, options="train_images=20,test_images=1"))
    assert other.split_sizes["test"] == 20
    assert other.fingerprint != dataset.fingerprint


@pytest.mark.parametrize("options", ["objects=1", "objects=7", "train_images=19", "kinds=odd", "colors=3"])
def test_options_that_are_not_accepted_are_named(options: str) -> None:
    with pytest.raises(ConfigError, match=options.split("=")[0]):
        SortOfCLEVR(options=options)
