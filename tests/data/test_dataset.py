"""Preparing a data set once, whatever happens meanwhile."""

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from own_data import asked, draw, jsonl_config, write_lines

from smarttrim_jax import progress
from smarttrim_jax.configuration import build
from smarttrim_jax.data import DATASETS, image_checks, image_writer
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset, prepare
from smarttrim_jax.data.writing import RecordWriter
from smarttrim_jax.errors import ConfigError, DataError

KILLED_WHILE_PREPARING = """
import os, sys
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.data.writing import RecordWriter

write_all = RecordWriter._generate_examples

def die_after_three(self, split):
    for number, example in enumerate(write_all(self, split)):
        if number == 3:
            os._exit(9)
        yield example

RecordWriter._generate_examples = die_after_three
prepare(DataConfig("easy_vqa", 8, 10, 4, source=sys.argv[1], data_dir=sys.argv[2]))
"""

PREPARING = """
import sys
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import prepare
print(prepare(DataConfig("easy_vqa", 8, 10, 4, source=sys.argv[1], data_dir=sys.argv[2])).split_sizes["train"])
"""


@pytest.fixture
def own_images(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder of 40 images and a question about each."""
    folder = tmp_path / "own"
    images = draw(folder, 40)
    return write_lines(folder, train=asked(images[5:]), test=asked(images[:5]))


def test_sizes_names_and_tokenizer(dataset: Dataset, config: DataConfig) -> None:
    assert dataset.split_sizes == {"train": 84, "calibration": 10, "test": 10}
    assert (dataset.num_images, dataset.num_answers) == (1, 4)
    assert dataset.answer_names == ("circle", "red", "yes", "no")
    assert dataset.text.text_length == config.text_length
    with pytest.raises(DataError, match=r"no split 'validation'; it has .*calibration"):
        dataset.records("validation")


def test_the_second_time_is_silent_and_needs_no_source(
    config: DataConfig, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = prepare(dataclasses.replace(config, data_dir=str(tmp_path)))
    assert capsys.readouterr().out.count("\n") == 1
    again = prepare(dataclasses.replace(config, data_dir=str(tmp_path), source="nowhere"))
    assert capsys.readouterr().out == ""
    assert again.split_sizes == first.split_sizes
    assert again.text.encode("is shape 3 red?")[0].tolist() == first.text.encode("is shape 3 red?")[0].tolist()


def test_another_source_is_refused_and_a_missing_one_told(
    config: DataConfig, dataset: Dataset, raw_makers: dict[str, Any], tmp_path: pathlib.Path, caplog: Any
) -> None:
    other = dataclasses.replace(config, source=str(raw_makers["easy_vqa"](tmp_path / "raw")))
    with pytest.raises(DataError, match=rf"was prepared from '{config.source}', and data.source is '.*raw'; leave"):
        prepare(other)
    assert prepare(dataclasses.replace(other, fingerprint=dataset.fingerprint)).split_sizes == dataset.split_sizes
    assert not caplog.messages
    prepare(dataclasses.replace(config, source="nowhere"))
    assert caplog.messages[0].endswith("data.source is 'nowhere', which is not there and not needed")


def test_made_data_is_found_again(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    config = DataConfig("made_nlvr2", 48, 12, 2, data_dir=str(tmp_path))
    first = prepare(config)
    capsys.readouterr()
    assert prepare(config).fingerprint == first.fingerprint
    assert capsys.readouterr().out == ""
    assert not caplog.messages


def test_images_of_another_source_do_not_stay(
    config: DataConfig, raw_makers: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    source = raw_makers["easy_vqa"](tmp_path / "raw")
    (source / "train" / "images" / "7.png").unlink()
    with pytest.raises(DataError, match=r"images that are missing: 1 \(train 'train-7-14' 'train/images/7.png'\)"):
        prepare(dataclasses.replace(config, source=str(source), data_dir=str(tmp_path)))
    unfinished = tmp_path / "easy_vqa" / "1.0.0.unfinished"
    written = next(unfinished.glob("*.array_record"))
    os.utime(written, ns=(1, 1))
    with pytest.raises(DataError, match="no data at 'nowhere'"):
        prepare(dataclasses.replace(config, source="nowhere", data_dir=str(tmp_path)))
    assert written.exists()  # half an hour of copying, for want of a letter
    prepared = prepare(dataclasses.replace(config, data_dir=str(tmp_path))).prepared
    assert os.stat(prepared.images[0].path).st_mtime_ns != 1
    assert not unfinished.exists()


def test_a_killed_preparation_is_done_again_whole(config: DataConfig, tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-c", KILLED_WHILE_PREPARING, config.source, str(tmp_path)]
    assert subprocess.run(command, check=False).returncode == 9
    assert list(tmp_path.rglob("*.array_record*")) or list(tmp_path.rglob("*incomplete*"))
    assert prepare(dataclasses.replace(config, data_dir=str(tmp_path))).split_sizes["train"] == 84


def test_another_process_may_finish_first(
    config: DataConfig, dataset: Dataset, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "easy_vqa" / "1.0.0"

    write_all = RecordWriter._generate_examples

    def overtaken(self: RecordWriter, split: str) -> Iterator[Any]:
        if not target.exists():
            shutil.copytree(dataset.prepared.folder, target)
        yield from write_all(self, split)

    monkeypatch.setattr(RecordWriter, "_generate_examples", overtaken)
    assert prepare(dataclasses.replace(config, data_dir=str(tmp_path))).split_sizes == dataset.split_sizes
    assert [path.name for path in target.parent.iterdir()] == ["1.0.0"]


def test_a_stopped_preparation_reads_no_image_twice(
    own_images: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = jsonl_config(own_images, tmp_path / "prepared")
    monkeypatch.setattr(image_writer, "SHARD_BYTES", 400)  # a few images
    read: list[str] = []
    read_whole = image_checks.read_whole

    def stopping(path: str, most_bytes: int) -> bytes:
        if len(read) == 20:
            raise KeyboardInterrupt
        read.append(path)
        return read_whole(path, most_bytes)

    monkeypatch.setattr(image_checks, "read_whole", stopping)
    with pytest.raises(KeyboardInterrupt):
        prepare(config)
    first = set(read)
    os.utime(sorted(first)[0], ns=(1, 1))  # another file by the same name
    read.clear()
    monkeypatch.setattr(image_checks, "read_whole", lambda *given: read.append(given[0]) or read_whole(*given))
    dataset = prepare(config)
    kept = first - set(read)
    assert len(kept) >= 5
    assert sorted(first)[0] in read
    whole = prepare(dataclasses.replace(config, data_dir=str(tmp_path / "whole")))
    assert dataset.fingerprint == whole.fingerprint
    assert list(dataset.records("train")) == list(whole.records("train"))
    assert [path.name for path in dataset.prepared.folder.parent.iterdir()] == ["1.0.0"]


def test_processes_prepare_one_after_the_other(config: DataConfig, tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-c", PREPARING, config.source, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate()[0].splitlines()[-1] for process in running]
    assert said == ["84"] * 3
    assert [path.name for path in (tmp_path / "easy_vqa").iterdir()] == ["1.0.0"]


def test_a_folder_that_cannot_be_written_is_an_error(config: DataConfig, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot prepare easy_vqa in '.*file'.*change data_dir"):
        prepare(dataclasses.replace(config, data_dir=str(tmp_path / "file")))


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("gs://bucket/prepared", "a bucket; prepared data must be on a disk"),
        ("/proc/nothing/x", "cannot prepare easy_vqa"),
        ("~nobody_of_this_name/x", "cannot prepare easy_vqa"),
    ],
)
def test_a_place_that_is_none_is_an_error(config: DataConfig, place: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        prepare(dataclasses.replace(config, data_dir=place))
    assert "\n" not in str(error.value)


def test_preparing_tells_what_is_left(
    config: DataConfig, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    prepare(dataclasses.replace(config, data_dir=str(tmp_path)))
    lines = capsys.readouterr().err.splitlines()
    assert any(
        line.startswith("preparing easy_vqa: 50 of 104 examples  ") and line.endswith("left") for line in lines
    )


def test_questions_that_are_no_json_are_an_error(
    raw_makers: dict[str, Callable[..., Any]], config: DataConfig, tmp_path: pathlib.Path
) -> None:
    source = raw_makers["easy_vqa"](tmp_path / "raw")
    (source / "train" / "questions.json").write_text('[["is it')
    with pytest.raises(DataError, match=r"train/questions\.json' is damaged"):
        prepare(dataclasses.replace(config, source=str(source), data_dir=str(tmp_path / "prepared")))


@pytest.mark.parametrize("missing", ["answers.txt", "train/questions.json", "test/images/0.png"])
def test_an_incomplete_source_is_an_error_that_names_the_file(
    raw_makers: dict[str, Callable[..., Any]], config: DataConfig, tmp_path: pathlib.Path, missing: str
) -> None:
    source = raw_makers["easy_vqa"](tmp_path / "raw")
    (source / missing).unlink()
    with pytest.raises(DataError, match=missing.rsplit("/", 1)[-1]):
        prepare(dataclasses.replace(config, source=str(source), data_dir=str(tmp_path / "prepared")))


def test_a_vocabulary_of_the_user_is_read(config: DataConfig, dataset: Dataset, tmp_path: pathlib.Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    own = prepare(dataclasses.replace(config, tokenizer=str(tmp_path)))
    assert own.text.vocab_size == 5
    with pytest.raises(DataError, match="no vocabulary at 'nowhere'"):
        prepare(dataclasses.replace(config, tokenizer="nowhere"))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("resize", "stretch", "resize is 'stretch'; accepted: 'resize', 'resize_crop'"),
        ("augment", "flip", "augment is 'flip'; accepted: 'none', 'clip_randaug', 'blip'"),
        ("image_size", 0, "image_size is 0; it must be at least 1"),
        ("text_length", 2, "text_length is 2; it must be at least 3"),
        ("batch_size", -4, "batch_size is -4; it must be at least 1"),
        ("workers", -1, "workers is -1; it must be between 0 and 1024"),
    ],
)
def test_settings_out_of_range_are_errors(config: DataConfig, setting: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(config, **{setting: value})


def test_settings_come_from_plain_values_too() -> None:
    settings = {"dataset": "nlvr", "image_size": 32, "text_length": 20, "batch_size": 8}
    assert build(DataConfig, settings) == DataConfig("nlvr", 32, 20, 8)


def test_a_name_that_there_is_not_lists_the_known(config: DataConfig) -> None:
    with pytest.raises(ConfigError, match=r"no data set 'vqa_v9'; known are 'coco', .*'vqav2', and your own as"):
        prepare(dataclasses.replace(config, dataset="vqa_v9"))
    assert {"easy_vqa", "easy_vqa_captions", "nlvr", "sort_of_clevr", "jsonl"} <= set(DATASETS)


def test_names_of_records_are_found_by_their_index(dataset: Dataset) -> None:
    names = [record["id"].decode() for record in dataset.records("test")]
    assert dataset.ids("test", [7, 0, 7]) == [names[7], names[0], names[7]]
    assert dataset.ids("test", []) == []
