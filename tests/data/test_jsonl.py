"""A folder of JSON lines is a data set without code; its faults are told all at once."""

import contextlib
import os
import pathlib
import re
import shutil
from typing import Any

import fsspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from own_data import Row, asked, draw, jsonl_config, write_lines

from smarttrim_jax import ranges
from smarttrim_jax.data import faults
from smarttrim_jax.data.builders.jsonl import Jsonl
from smarttrim_jax.data.dataset import Dataset, prepare
from smarttrim_jax.data.images import decode
from smarttrim_jax.errors import DataError


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """40 training examples and 5 of test, each about its own image."""
    images = draw(tmp_path / "own")
    return write_lines(tmp_path / "own", train=asked(images[5:]), test=asked(images[:5]))


def opened(folder: pathlib.Path, **changes: Any) -> Dataset:
    return prepare(jsonl_config(folder, folder.parent / "prepared", **changes))


def fault(folder: pathlib.Path) -> str:
    """The one sentence with all faults."""
    with pytest.raises(DataError) as error:
        opened(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def by_id(dataset: Dataset, split: str) -> dict[str, Row]:
    return {record["id"].decode(): record for record in dataset.records(split)}


def gray(record: Row) -> int:
    return decode(record["images"][0], "x").getpixel((0, 0))[0]


def test_a_line_is_an_example_whose_id_stays(folder: pathlib.Path) -> None:
    rows = [row | {"id": f"own-{number}"} for number, row in enumerate(asked([f"{i}.png" for i in range(5)]))]
    dataset = opened(write_lines(folder, test=[*rows[:3], rows[4] | {"id": 77}]))
    assert dataset.answer_names == ("even", "odd")
    assert dataset.kind == "answer"
    records = by_id(dataset, "test")
    assert sorted(records) == ["77", "own-0", "own-1", "own-2"]
    for name, number in {"own-0": 0, "own-1": 1, "own-2": 2, "77": 4}.items():
        assert gray(records[name]) == number
        assert records[name]["text"].decode() == f"is {number} odd?"
        assert records[name]["answer"] == number % 2
    # Without an id, it is the split and the number of the line.
    assert by_id(dataset, "train")["train-3"]["text"] == b"is 2 odd?"


def test_question_and_images_stand_for_text_and_image_too(folder: pathlib.Path) -> None:
    rows = [{"images": ["0.png", "1.png"], "question": "same?", "answer": "no"}]
    pairs = [rows[0] | {"images": [f"{i}.png", f"{i + 1}.png"]} for i in range(2, 30, 2)]
    dataset = opened(write_lines(folder, train=pairs, test=rows))
    assert dataset.num_images == 2
    assert dataset.records("test")[0]["text"] == b"same?"


def test_an_absolute_path_is_read_where_it_is(folder: pathlib.Path) -> None:
    elsewhere = folder.parent / "elsewhere.png"
    shutil.copy(folder / "39.png", elsewhere)
    dataset = opened(write_lines(folder, test=asked([str(elsewhere)])))
    assert gray(dataset.records("test")[0]) == 39


def test_a_tenth_of_train_is_held_out_and_shares_no_image(folder: pathlib.Path) -> None:
    shutil.copy(folder / "7.png", folder / "copy.png")
    rows = asked([*[f"{i}.png" for i in range(40)] * 2, "copy.png"])
    dataset = opened(write_lines(folder, train=rows))
    train, calibration = ({gray(record) for record in dataset.records(split)} for split in ("train", "calibration"))
    assert not train & calibration
    assert train | calibration == set(range(40))
    assert dataset.split_sizes["train"] + dataset.split_sizes["calibration"] == 81
    assert 4 <= dataset.split_sizes["calibration"] <= 8
    # The order of the lines decides nothing.
    again = opened(write_lines(folder, train=rows[::-1]))
    assert {gray(record) for record in again.records("calibration")} == calibration


def test_ones_own_calibration_is_taken(folder: pathlib.Path) -> None:
    dataset = opened(write_lines(folder, calibration=asked(["0.png", "1.png"])))
    assert dataset.split_sizes == {"train": 35, "calibration": 2, "test": 5}


def test_images_that_all_hang_together_ask_for_calibration(folder: pathlib.Path) -> None:
    sentence = fault(write_lines(folder, train=asked(["0.png"] * 20)))
    assert "cannot be held out of train: 1 (add calibration.jsonl)" in sentence


def test_answers_of_test_that_train_never_has_are_counted_and_wrong(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = asked(["0.png", "1.png", "2.png"])
    dataset = opened(write_lines(folder, test=[*rows[:2], rows[2] | {"answer": "neither"}]))
    assert "jsonl: 1 of 3 answers in test are none that train has; they count as wrong" in capsys.readouterr().out
    assert [by_id(dataset, "test")[f"test-{line}"]["answer"] for line in (1, 2, 3)] == [0, 1, -1]


def test_a_list_of_answers_fixes_their_order(folder: pathlib.Path) -> None:
    (folder / "answers.json").write_text('["odd", "never", "even"]')
    dataset = opened(folder)
    assert dataset.answer_names == ("odd", "never", "even")
    assert by_id(dataset, "test")["test-1"]["answer"] == 2
    (folder / "answers.json").write_text('["odd", "odd"]')
    sentence = fault(folder)
    assert "names of answers that are there twice: 1 ('odd')" in sentence
    assert "records of train with none of the data set's answers: " in sentence
    (folder / "answers.json").write_text('{"odd": 1}')
    assert "files that are no JSON list of answers: 1 (answers.json)" in fault(folder)


def test_several_answers_have_weights(folder: pathlib.Path) -> None:
    ten = ["red"] * 6 + ["dark red"] * 2 + ["blue", "wine"]
    judged = [ten, {"wine": 0.25, "red": 1}, ["blue"]]
    rows = [{"image": f"{i}.png", "text": "color?", "answers": judged[i % 3]} for i in range(30)]
    dataset = opened(write_lines(folder, train=rows, test=[rows[0], rows[1], rows[2] | {"answers": ["pink"]}]))
    assert dataset.kind == "answers"
    assert dataset.answer_names == ("blue", "dark red", "red", "wine")
    assert dataset.most_answers == 4
    first, second, third = (by_id(dataset, "test")[f"test-{line}"] for line in (1, 2, 3))
    # With ten people asked, VQA's score: 4 and more of them are wholly right, 2 are .6, 1 is .3.
    assert first["answers"].tolist() == [2, 1, 0, 3]
    np.testing.assert_allclose(first["weights"], [1, 0.6, 0.3, 0.3], rtol=1e-6)
    assert second["answers"].tolist() == [2, 3, -1, -1]
    assert second["weights"].tolist() == [1, 0.25, 0, 0]
    assert (first["answer"], second["answer"], third["answer"]) == (2, 2, -1)
    assert third["weights"].tolist() == [1, 0, 0, 0]


def test_answers_beyond_the_list_are_no_targets_of_training(folder: pathlib.Path) -> None:
    rows = [{"image": f"{i}.png", "text": "color?", "answers": {"odd one": 1.0, "red": 0.5}} for i in range(30)]
    (folder / "answers.json").write_text('["red", "blue"]')
    dataset = opened(write_lines(folder, train=rows, test=rows[:1]))
    assert (dataset.records("train")[0]["answer"], dataset.records("test")[0]["answer"]) == (0, -1)
    assert dataset.records("train")[0]["weights"].tolist() == [0.5, 0]
    assert dataset.records("test")[0]["answers"].tolist() == [-1, 0]


def test_captions_need_no_text(folder: pathlib.Path) -> None:
    rows = [{"image": f"{i}.png", "captions": [f"number {i}", "a gray square"]} for i in range(30)]
    dataset = opened(write_lines(folder, train=rows, test=[{"image": "3.png", "captions": "three"}]))
    assert (dataset.kind, dataset.answer_names) == ("references", ())
    record = dataset.records("test")[0]
    assert record["text"] == b"three"
    assert list(record["references"]) == [b"three"]
    assert dataset.text.encode("a gray square")[0].tolist()[1:4] != [1, 1, 1]  # words of all captions are known


def test_a_changed_folder_is_prepared_anew_and_no_two_share(
    folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = opened(folder)
    assert "preparing jsonl" in capsys.readouterr().out
    assert opened(folder).prepared.folder == first.prepared.folder
    assert capsys.readouterr().out == ""
    folders = {first.prepared.folder}
    for number, change in enumerate(
        (
            lambda: write_lines(folder, test=asked(["1.png"])),
            lambda: shutil.copy(folder / "30.png", folder / "1.png"),
            lambda: (folder / "answers.json").write_text('["odd", "even"]'),
        ),
        start=2,
    ):
        change()
        folders.add(opened(folder).prepared.folder)
        assert len(folders) == number
    # The same contents elsewhere are the same data.
    shutil.copytree(folder, folder.parent / "moved")
    assert opened(folder.parent / "moved").prepared.folder in folders


def test_what_a_model_was_trained_on_is_found_without_its_source(folder: pathlib.Path) -> None:
    before = opened(folder)
    write_lines(folder, test=asked(["1.png"]))
    after = opened(folder)
    shutil.rmtree(folder)
    for dataset in (before, after):
        assert opened(folder, fingerprint=dataset.fingerprint).prepared.folder == dataset.prepared.folder
    with pytest.raises(DataError, match="there is no folder"):
        opened(folder, fingerprint="0" * 64)


def test_a_folder_may_lie_in_a_bucket(folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "BUCKETS", ("memory://",))
    files = fsspec.filesystem("memory")
    files.put(f"{folder}/", "/own_data", recursive=True)
    try:
        far = prepare(jsonl_config(folder, folder.parent / "far", source="memory://own_data"))
    finally:
        files.rm("/own_data", recursive=True)
    assert far.fingerprint == opened(folder).fingerprint


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "lines that are no JSON object: 1 (train.jsonl line 36)"),
        ('{"image": ', "lines that are no JSON object"),
        ('{"image": "1.png", "text": "q", "answer": NaN}', "lines that are no JSON object"),
        ({"image": None}, "records whose images are no list with at least one"),
        ({"image": []}, "records whose images are no list with at least one"),
        ({"image": [3]}, "images that are neither the bytes nor the path of a file"),
        ({"image": ["1.png", "2.png"]}, "records with another number of images than the first"),
        ({"image": "none.png"}, "images that are missing: 1 (train.jsonl line 36 'none.png')"),
        ({"image": "a\0b"}, "images that cannot be read: 1 (train.jsonl line 36 'a\\x00b')"),
        ({"image": "."}, "images that cannot be read: 1 (train.jsonl line 36 '.')"),
        ({"image": "train.jsonl"}, "images that cannot be read: 1 ("),
        ({"image": "http://a.b/c.png"}, "images that are missing"),
        ({"text": " "}, "texts that are empty or no text"),
        ({"text": 3}, "texts that are empty or no text"),
        ({"text": None}, "texts that are empty or no text"),
        ({"answer": None}, "records without exactly one of answer, answers and references"),
        ({"answers": ["yes"]}, "records without exactly one of answer, answers and references"),
        ({"answer": True}, "answers that are not text of one line"),
        ({"answer": "a\nb"}, "answers that are not text of one line"),
        ({"answer": None, "answers": [1, 2]}, "answers that are no mapping from names to weights"),
        ({"answer": None, "answers": {"yes": 0}}, "weights of answers that are no numbers above 0 and at most 1"),
        ({"answer": None, "answers": {"yes": 7}}, "weights of answers that are no numbers above 0 and at most 1"),
        ({"answer": None, "answers": {"yes": True}}, "weights of answers that are no numbers above 0 and at most 1"),
        ({"answer": None, "answers": {"yes": 1}}, "records without answer, which the first record has"),
        ({"answer": None, "captions": [""]}, "references that are no list of texts"),
        ({"answer": None, "captions": {}}, "references that are no list of texts"),
        ({"id": ""}, "ids that are no text"),
        ({"id": None}, "ids that are no text"),
        ({"id": [1]}, "ids that are no text"),
        ({"id": "train-4"}, "ids that are there twice: 1 (train.jsonl line 36 'train-4' of line 4)"),
    ],
)
def test_a_faulty_line_is_named(folder: pathlib.Path, line: Any, message: str) -> None:
    rows: list[Any] = asked([f"{i}.png" for i in range(35)])
    rows.append(line if isinstance(line, str) else rows[1] | line)
    sentence = fault(write_lines(folder, train=rows))
    assert message in sentence
    assert sentence.startswith(f"the data of jsonl in '{folder}' cannot be used: ")
    assert sentence.count(": 1 (") == 1
    assert not list((folder.parent / "prepared").glob("jsonl/*/1.0.0"))


def test_all_faults_are_told_at_once_with_counts_and_the_first_places(folder: pathlib.Path) -> None:
    rows: list[Any] = asked([f"{i}.png" for i in range(35)])
    rows += ["{"] * 5 + [rows[0] | {"id": "x"}] * 3 + [rows[0] | {"image": "gone.png"}] * 2
    (folder / "34.png").write_bytes(b"no image")
    (folder / "test.jsonl").unlink()
    sentence = fault(write_lines(folder, train=rows))
    (listed,) = folder.parent.rglob("faults.txt")
    assert sentence.split("cannot be used: ")[1].split("; ") == [
        "files that are missing: 1 (test.jsonl)",
        "lines that are no JSON object: 5 (train.jsonl line 36, train.jsonl line 37, train.jsonl line 38, ...)",
        "ids that are there twice: 2 (train.jsonl line 42 'x' of line 41, train.jsonl line 43 'x' of line 41)",
        "images that are missing: 2 (train.jsonl line 44 'gone.png', train.jsonl line 45 'gone.png')",
        f"images that cannot be read: 1 (train 'train-35' '{folder / '34.png'}')",
        f"mend them and start again (all are listed in '{listed}')",
    ]
    lines = listed.read_text().splitlines()
    assert len(lines) == 11
    assert lines[5] == "lines that are no JSON object: train.jsonl line 40"


@pytest.mark.parametrize(
    ("source", "message"),
    [("", "jsonl needs data.source, a folder"), ("nowhere", "no folder 'nowhere'"), ("https://a.b/c", "not fetched")],
)
def test_a_source_that_is_no_folder_is_named(tmp_path: pathlib.Path, source: str, message: str) -> None:
    config = jsonl_config(tmp_path, tmp_path / "prepared", source="")
    object.__setattr__(config, "source", source)  # a URL is no legal setting
    with pytest.raises(DataError, match=message):
        prepare(config)


def test_a_file_or_an_empty_folder_is_no_source(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in (folder / "0.png", tmp_path / "empty"):
        assert f"there is no folder '{source}' with files in it" in fault(source)


def test_a_pipe_is_no_image(folder: pathlib.Path) -> None:
    (folder / "0.png").unlink()
    os.mkfifo(folder / "0.png")
    assert "images that cannot be read: 1 (test.jsonl line 1 '0.png')" in fault(folder)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["0.png", "odd"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["image", "images", "text", "question", "answer", "answers", "captions", "id"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(KEYS, ANYTHING), min_size=1, max_size=4))
def test_whatever_lines_say_they_are_records_or_faults(folder: pathlib.Path, changes: list[Row]) -> None:
    rows = asked([f"{i}.png" for i in range(5, 15)]) + [asked(["0.png"])[0] | change for change in changes]
    builder = Jsonl(str(write_lines(folder, train=rows)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faults, "FIRST_PLACES", 1000)
        found = builder.faults()
        with pytest.raises(DataError) if found else contextlib.nullcontext() as error:
            found.refuse("jsonl", builder.source, folder)
    bad_lines = set(re.findall(r"train\.jsonl line (\d+)[ ,)]", str(error.value))) if found else set()
    records = [record for split in ("train", "calibration") for record in builder.records(split)]
    assert len(records) + len(bad_lines) == len(rows)
    assert {record.id for record in records if record.id.startswith("train-")} >= {f"train-{i}" for i in range(1, 11)}
