"""easy-VQA as it is installed."""

import importlib.util

import pytest

from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset, prepare
from smarttrim_jax.data.images import decode
from smarttrim_jax.errors import DataError

CONFIG = DataConfig(dataset="easy_vqa", image_size=64, text_length=16, batch_size=4)


@pytest.fixture(scope="module")
def easy_vqa(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    pytest.importorskip("easy_vqa", reason="the data comes with: pip install easy-vqa")
    directory = str(tmp_path_factory.mktemp("easy_vqa"))
    return prepare(DataConfig(**vars(CONFIG) | {"data_dir": directory}))


@pytest.mark.slow
def test_counts_and_answers(easy_vqa: Dataset) -> None:
    assert easy_vqa.split_sizes == {"train": 34_676, "calibration": 3_899, "test": 9_673}
    assert easy_vqa.num_images == 1
    assert easy_vqa.num_answers == 13
    assert easy_vqa.answer_names[:5] == ("circle", "green", "red", "gray", "yes")
    words = ["what", "color", "is", "the", "shape", "?"]
    ids, _ = easy_vqa.text.encode("What color is the shape?")
    assert easy_vqa.text.tokens(ids)[1:7] == words


@pytest.mark.slow
def test_calibration_shares_no_image_with_train(easy_vqa: Dataset) -> None:
    pixels = {}
    for split in ("train", "calibration"):
        records = easy_vqa.records(split)
        pixels[split] = {record["images"][0] for record in records.__getitems__(range(len(records)))}
    assert (len(pixels["train"]), len(pixels["calibration"])) == (3_600, 400)
    assert not pixels["train"] & pixels["calibration"]


@pytest.mark.slow
def test_a_record_is_the_question_of_its_image(easy_vqa: Dataset) -> None:
    for record in easy_vqa.records("test").__getitems__(range(30)):
        assert decode(record["images"][0], "x").size == (64, 64)
        text, answer = record["text"].decode(), easy_vqa.answer_names[record["answer"]]
        if text.startswith("what is the color"):
            assert answer in ("green", "red", "gray", "teal", "black", "yellow", "brown", "blue")
        if text.startswith(("is ", "does ")):
            assert answer in ("yes", "no")


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install easy-vqa"):
        prepare(DataConfig(**vars(CONFIG) | {"data_dir": str(tmp_path)}))
