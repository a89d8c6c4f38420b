"""A builder of a user's own: found by its place, checked whole, its records in every batch."""

import collections
import dataclasses
import itertools
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest
from own_data import draw, jsonl_config
from raw_data import png

from smarttrim_jax.data import DatasetBuilder, Record
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset, prepare
from smarttrim_jax.data.pipeline import eval_batches, train_iterator
from smarttrim_jax.errors import ConfigError, DataError

IMAGE = png(np.full((8, 8, 3), 7, np.uint8))
OTHER = png(np.full((8, 8, 3), 8, np.uint8))


class Own(DatasetBuilder):
    """What a test puts into `given`, by split; captions unless it says otherwise."""

    given: dict[str, Sequence[Any]]
    names: Sequence[str] | None = None

    def records(self, split: str) -> Iterable[Record]:
        return iter(self.given[split])

    def answers(self) -> Sequence[str] | None:
        return self.names


class Other(Own):
    """The same under another name, which is prepared on its own."""


def captioned(split: str, count: int) -> list[Record]:
    return [Record(f"{split}{i}", [IMAGE], references=[f"one {i}", f"two {i}", f"three {i}"]) for i in range(count)]


def sound(**changes: Any) -> dict[str, Sequence[Any]]:
    return {
        "train": captioned("train", 12),
        "calibration": captioned("held", 2),
        "test": captioned("test", 5),
        **changes,
    }


def here(name: str = "Own") -> str:
    return f"{__name__}:{name}"


@pytest.fixture
def opened(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Dataset, DataConfig]]:
    """Prepares what a test gives."""

    def open_own(given: dict[str, Sequence[Any]], **changes: Any) -> tuple[Dataset, DataConfig]:
        monkeypatch.setattr(Own, "given", given, raising=False)
        config = jsonl_config(pathlib.Path(), tmp_path / "prepared", text_length=16, **{"dataset": here(), **changes})
        return prepare(config), config

    return open_own


def take(batches: Iterable[Any], count: int) -> list[dict[str, np.ndarray]]:
    return list(itertools.islice(batches, count))


def words(dataset: Dataset, ids: np.ndarray) -> list[str]:
    return [dataset.text.written(row).replace(" ", "") for row in ids]


def test_the_name_of_a_class_says_where_it_stands(opened: Any) -> None:
    dataset, config = opened(sound())
    assert dataset.prepared.folder == pathlib.Path(config.data_dir) / here().replace(":", "_") / "1.0.0"
    assert dataset.split_sizes == {"train": 12, "calibration": 2, "test": 5}
    assert dataset.ids("test", [0, 4]) == [dataset.records("test")[i]["id"].decode() for i in (0, 4)]


def test_a_class_that_nobody_imported_is_not_imported_for_a_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "evil_data.py").write_text("raise SystemExit")
    config = jsonl_config(tmp_path, tmp_path, dataset="evil_data:Builder")
    with pytest.raises(ConfigError, match="pass --plugins=evil_data"):
        prepare(config)
    assert "evil_data" not in sys.modules


def test_what_is_no_builder_is_named(opened: Any, tmp_path: pathlib.Path) -> None:
    for name in ("IMAGE", "sound", "Dataset"):
        with pytest.raises(ConfigError, match=f"'{here(name)}' is no data set; make it a class derived from"):
            prepare(jsonl_config(tmp_path, tmp_path, dataset=here(name)))


def test_a_higher_version_is_prepared_anew(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before, _ = opened(sound())
    monkeypatch.setattr(Own, "version", "1.0.1")
    after, _ = opened(sound(test=captioned("other", 3)))
    assert (before.split_sizes["test"], after.split_sizes["test"]) == (5, 3)


def test_a_caption_is_drawn_in_every_epoch_from_the_seed_alone(opened: Any) -> None:
    dataset, config = opened(sound())
    first = take(train_iterator(dataset, config), 15)  # five epochs of 12
    read: dict[int, list[str]] = collections.defaultdict(list)
    for batch in first:
        for index, text in zip(batch["index"], words(dataset, batch["text_ids"]), strict=True):
            read[int(index)].append(text)
    for index, texts in read.items():
        number = dataset.ids("train", [index])[0].removeprefix("train")
        assert set(texts) <= {f"one{number}", f"two{number}", f"three{number}"}
        assert len(texts) == 5
    assert sum(len(set(texts)) > 1 for texts in read.values()) > 8

    def equal(left: list[dict[str, np.ndarray]], right: list[dict[str, np.ndarray]]) -> bool:
        return all((a[key] == b[key]).all() for a, b in zip(left, right, strict=True) for key in a)

    assert equal(first, take(train_iterator(dataset, config), 15))
    assert equal(first[7:], take(train_iterator(dataset, config, start=7), 8))
    rows = np.array([1, 3])
    shares = [{key: value[rows] for key, value in batch.items()} for batch in first]
    assert equal(shares, take(train_iterator(dataset, config, rows), 15))
    assert not equal(first, take(train_iterator(dataset, dataclasses.replace(config, seed=1)), 15))


def test_evaluation_reads_the_first_caption_and_keeps_all(opened: Any) -> None:
    dataset, config = opened(sound())
    (batch, last) = eval_batches(dataset, "test", config)
    for index, text in zip(batch["index"], words(dataset, batch["text_ids"]), strict=True):
        record = dataset.records("test")[int(index)]
        assert record["references"][0].decode().replace(" ", "") == text
        assert len(record["references"]) == 3
    # What belongs to an image is told by the record alone.
    assert (batch["label"] == batch["index"]).all()
    assert last["index"].tolist() == [4, -1, -1, -1]


def test_weighted_answers_are_arrays_of_one_width(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Own, "names", ["no", "yes", "maybe"])
    given = [{"no": 0.25, "yes": 1}, {"maybe": 0.5}, {"yes": 0.5, "no": 0.75, "maybe": 0.25}, {"no": 1}]
    records = [Record(f"r{i}", [IMAGE], "is it?", answers=answers) for i, answers in enumerate(given)]
    dataset, config = opened({"train": records, "calibration": records, "test": records})
    assert dataset.answer_names == ("no", "yes", "maybe")
    batches = {
        "train": next(train_iterator(dataset, config)),
        "test": next(iter(eval_batches(dataset, "test", config))),
    }
    for split, batch in batches.items():
        assert batch["answer_ids"].dtype == batch["label"].dtype == batch["index"].dtype == np.int32
        assert batch["answer_weights"].dtype == np.float32
        for row, index in enumerate(batch["index"]):
            number = int(dataset.ids(split, [index])[0].removeprefix("r"))
            ids, weights = batch["answer_ids"][row].tolist(), batch["answer_weights"][row].tolist()
            expected = {("no", "yes", "maybe").index(name): weight for name, weight in given[number].items()}
            assert {i: weight for i, weight in zip(ids, weights, strict=True) if weight} == expected
            assert ids[len(expected) :] == [-1] * (3 - len(expected))
            heaviest = max(expected, key=lambda i: expected[i])
            assert batch["label"][row] in (expected if split == "train" else [heaviest])
    iterator = train_iterator(dataset, config)
    drawn = collections.Counter(
        (dataset.ids("train", [index])[0], int(label))
        for batch in take(iterator, 400)
        for index, label in zip(batch["index"], batch["label"], strict=True)
    )
    # A share of 400 draws has a standard deviation of .025 at most; the bound is three of them.
    counts = np.array([[drawn[f"r{i}", answer] for answer in range(3)] for i in range(4)])
    np.testing.assert_allclose(counts / 400, [[0.2, 0.8, 0], [0, 0, 1], [0.5, 1 / 3, 1 / 6], [1, 0, 0]], atol=0.08)


def test_only_a_test_split_may_keep_its_answers_secret(opened: Any) -> None:
    known = Record("known", [IMAGE], "is it?", answers={"yes": 1.0, "no": 0.3})
    secret = Record("secret", [IMAGE], "is it?", answers={})
    dataset, config = opened({"train": [known], "calibration": [known], "test": [known, secret]})
    (batch,) = eval_batches(dataset, "test", config)
    labels = dict(zip(dataset.ids("test", [0, 1]), batch["label"][:2].tolist(), strict=True))
    assert labels == {"known": dataset.answer_names.index("yes"), "secret": -1}
    with pytest.raises(DataError, match=r"records of calibration without any answer: 1 \(calibration 'secret'\)"):
        opened({"train": [known], "calibration": [secret], "test": [known]}, dataset=here("Other"))


def test_metadata_is_read_back_as_it_was_given(opened: Any) -> None:
    given = {"kind": "relational", "number": 7, "people": ["ja", "n\u00e4"], "nested": {"none": None, "half": 0.5}}
    changed = [dataclasses.replace(record, metadata=given) for record in captioned("test", 2)]
    dataset, _ = opened(sound(test=changed))
    assert [record["metadata"] for record in dataset.records("test")] == [given, given]
    assert all(record["metadata"] == {} for record in dataset.records("train"))


def test_an_image_is_kept_once_whatever_holds_it(opened: Any, tmp_path: pathlib.Path) -> None:
    (tmp_path / "same.png").write_bytes(IMAGE)
    (tmp_path / "other.png").write_bytes(OTHER)
    paths = [tmp_path / "same.png", str(tmp_path / "other.png")]
    captions = [Record(f"r{i}", [image], references=["a"]) for i, image in enumerate([*paths, IMAGE, OTHER] * 3)]
    dataset, _ = opened(sound(train=captions))
    records = dataset.records("train")
    assert sum(shard.records for shard in dataset.prepared.images) == 2
    for name, images in ((record["id"].decode(), record["images"]) for record in records):
        assert images == [OTHER if int(name.removeprefix("r")) % 2 else IMAGE]
    assert {record["images"][0] for record in records.without_images(range(12))} == {0, 1}


def test_all_faults_of_records_are_told_at_once(opened: Any, tmp_path: pathlib.Path) -> None:
    (image, *_) = draw(tmp_path / "images", 1)
    good = Record("good", [tmp_path / "images" / image], "q?", "yes")
    train = [
        good,
        good,
        Record("gone", [tmp_path / "gone.png"], "q?", "yes"),
        Record("broken", [IMAGE[:40]], "q?", "yes"),
        Record("none", [], "q?", "yes"),
        Record("both", [IMAGE], "q?", "yes", references=["yes"]),
        Record("two", [IMAGE, OTHER], "q?", "yes"),
        {"id": "a dict"},
        Record("bytes", IMAGE, "q?", "yes"),  # type: ignore[arg-type]
        Record("spaces", [IMAGE], "q?", " yes"),
        Record("nan", [IMAGE], "q?", "yes", metadata={"x": float("nan")}),
        Record("object", [IMAGE], "q?", "yes", metadata={"x": {1, 2}}),
    ]
    with pytest.raises(DataError) as error:
        opened({"train": train, "calibration": [good], "test": [good]})
    name = here()
    assert str(error.value).split(f"the data of {name} in '.' cannot be used: ")[1].split("; ") == [
        "ids that are there twice: 1 (train 'good')",
        "records whose images are no list with at least one: 2 (train 'none', train 'bytes')",
        "records without exactly one of answer, answers and references: 1 (train 'both')",
        "records with another number of images than the first: 1 (train 'two')",
        "values that are no smarttrim_jax.data.Record: 1 (train 'record 8')",
        "answers that are not text of one line without spaces around it: 1 (train 'spaces')",
        "metadata that are no mapping from names to values that JSON can hold: 2 (train 'nan', train 'object')",
        "images that cannot be read: 1 (train 'broken')",
        f"images that are missing: 1 (train 'gone' '{tmp_path / 'gone.png'}')",
        "mend them and start again",
    ]


def test_a_split_without_examples_is_named(opened: Any) -> None:
    with pytest.raises(DataError, match="leaves no example for the split 'calibration'"):
        opened(sound(calibration=[]))


@pytest.mark.parametrize("method", ["records", "answers", "contents"])
def test_an_error_of_ones_own_code_names_its_line(opened: Any, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def fail(*_: Any) -> Any:
        return open("no such list.csv")

    monkeypatch.setattr(Own, method, fail)
    with pytest.raises(
        DataError, match=r"gives no records: FileNotFoundError: No such file .*test_own_builder\.py'"
    ) as error:
        opened(sound())
    assert f"line {fail.__code__.co_firstlineno + 1}); check data.source, or mend the class" in str(error.value)


def test_names_of_answers_are_names(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Own, "names", ["yes", 3, "yes"])
    record = Record("r", [IMAGE], "is it?", "yes")
    with pytest.raises(DataError) as error:
        opened({"train": [record], "calibration": [record], "test": [record]})
    assert "names of answers that are there twice: 1 ('yes')" in str(error.value)
    assert "names of answers that are not text of one line: 1 ('3')" in str(error.value)


def test_a_damaged_copy_of_any_kind_is_refused(opened: Any) -> None:
    dataset, config = opened(sound())
    features = dataset.prepared.folder / "features.json"
    features.write_text(features.read_text().replace('"references"', '"answers"'))
    with pytest.raises(DataError, match=r"features\.json' is not of records that this library writes; delete"):
        prepare(config)


def test_weighted_answers_without_a_name_are_refused(opened: Any) -> None:
    records = [Record("r", [IMAGE], "is it?", answers={"a": 0.5, "b": 1, "c": 0.25})]
    dataset, config = opened({"train": records, "calibration": records, "test": records})
    folder = dataset.prepared.folder
    (folder / "answer.labels.txt").write_text("a\nb")
    text = (folder / "features.json").read_text()
    (folder / "features.json").write_text(text.replace('"numClasses": "3"', '"numClasses": "2"'))
    with pytest.raises(DataError, match=r"record 0 in .* an answer that is none of the 2 in answer\.labels\.txt"):
        prepare(config).fingerprint  # noqa: B018
