"""Prepared data runs nothing of its own, is whole or refused, and is told from other data by its fingerprint."""

import dataclasses
import itertools
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from smarttrim_jax.data import fingerprint
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset, prepare
from smarttrim_jax.data.prepared import Records
from smarttrim_jax.errors import DataError

TRAIN = "easy_vqa-train.array_record-00000-of-00001"
EVIL = """
import pathlib
pathlib.Path(__file__).with_name("was_run").touch()
class Text: pass
"""
# What a folder from a stranger may name: imported by TFDS, or by anything that looks a class up by its name.
OPEN = """
import sys
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import prepare
from smarttrim_jax.errors import DataError
imported = []
sys.addaudithook(lambda event, args: imported.append(args[0]) if event == "import" else None)
for folder in sys.argv[1:]:
    try:
        dataset = prepare(DataConfig("easy_vqa", 8, 10, 4, data_dir=folder))
        dataset.fingerprint
        print(folder, "opened", len(dataset.records("test")))
    except DataError as error:
        print(folder, "refused", error)
assert not [name for name in imported if name.split(".")[0] == "run"], imported
"""


@pytest.fixture
def copied(dataset: Dataset, config: DataConfig, tmp_path: pathlib.Path) -> tuple[pathlib.Path, DataConfig]:
    """A copy of the prepared folder, and the configuration that opens it without a source."""
    folder = tmp_path / "prepared" / "easy_vqa" / "1.0.0"
    shutil.copytree(dataset.prepared.folder, folder)
    return folder, dataclasses.replace(config, data_dir=str(tmp_path / "prepared"), source="nowhere")


def edit(path: pathlib.Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(change(content) or content))


def plant(folder: pathlib.Path, at: str, key: str) -> None:
    """Names a class of a module beside the working directory somewhere in a prepared folder's files."""

    def change(tree: dict[str, Any]) -> None:
        features = tree["featuresDict"]["features"]
        node = ({"nested": features["images"]["sequence"]["feature"], "top": tree} | features)[at]
        node.pop("pythonClassName")
        node[key] = "run.evil.Text"

    edit(folder / "features.json", change)


def test_nothing_that_a_folder_names_is_imported(dataset: Dataset, tmp_path: pathlib.Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "evil.py").write_text(EVIL)
    places = [*itertools.product(["text", "images", "answer", "nested", "top"], ["pythonClassName", "type"])]
    for at, key in [*places, ("module", "")]:
        folder = tmp_path / f"{at}{key}" / "easy_vqa" / "1.0.0"
        shutil.copytree(dataset.prepared.folder, folder)
        if at == "module":
            edit(folder / "dataset_info.json", lambda info: info | {"moduleName": "run.evil"})
        else:
            plant(folder, at, key)
    folders = [f"{at}{key}" for at, key in places]
    # Where python -c looks for modules first, the working directory, there is only what was planted.
    paths = os.pathsep.join([str(pathlib.Path(__file__).parents[2]), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", OPEN, *folders, "module"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert not (tmp_path / "run" / "was_run").exists()
    *refused, opened = done.stdout.splitlines()
    assert opened == "module opened 10"  # a name that nobody reads does no harm
    for folder, line in zip(folders, refused, strict=True):
        assert line.startswith(
            f"{folder} refused '{folder}/easy_vqa/1.0.0/features.json' names the class 'run.evil.Text'"
        )


def test_another_class_of_tfds_is_refused_too(copied: Any) -> None:
    folder, config = copied
    other = "tensorflow_datasets.core.features.video_feature.Video"
    edit(
        folder / "features.json", lambda tree: tree["featuresDict"]["features"]["text"].update(pythonClassName=other)
    )
    with pytest.raises(DataError, match=r"names the class 'tensorflow_datasets.*Video', which is not loaded"):
        prepare(config)


def cut(keep: float) -> Callable[[pathlib.Path], None]:
    return lambda path: os.truncate(path, int(path.stat().st_size * keep))


def outside(path: pathlib.Path) -> None:
    moved = path.rename(path.parents[3] / path.name)
    path.symlink_to(moved)


def pipe(path: pathlib.Path) -> None:
    path.unlink()
    os.mkfifo(path)


IMAGES = "images-00000.array_record"
FILES = ["dataset_info.json", "features.json", "images.json", "answer.labels.txt", TRAIN, IMAGES]
DAMAGES = {
    "missing": pathlib.Path.unlink,
    "empty": cut(0),
    "a link away": outside,
    "a pipe": pipe,
    "cut": cut(0.7),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_folder_names_the_file_and_the_remedy(copied: Any, file: str, damage: str) -> None:
    folder, config = copied
    DAMAGES[damage](folder / file)
    with pytest.raises(DataError) as error:
        prepare(config)
    assert f"{folder / file}'" in str(error.value)
    assert str(error.value).endswith(
        f"delete the folder '{folder}' and run the same command again, which prepares it anew"
    )
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("dataset_info.json", "[]", "holds no object"),
        ("dataset_info.json", "{}", "is not of easy_vqa 1.0.0"),
        ("dataset_info.json", '{"name": "nlvr", "version": "1.0.0"}', "is not of easy_vqa 1.0.0"),
        ("dataset_info.json", '{"name": "easy_vqa", "version": "1.0.0", "splits": 3}', "its splits cannot be read"),
        (
            "dataset_info.json",
            '{"name": "easy_vqa", "version": "1.0.0", "splits": [{"name": "../../x", "shardLengths": [1]}]}',
            "its splits cannot be read",
        ),
        (
            "dataset_info.json",
            '{"name": "easy_vqa", "version": "1.0.0", "splits": [{"name": "train", "shardLengths": ["85"]}]}',
            "train.* holds 84 records instead of 85",
        ),
        ("images.json", "{}", "holds no list of counts"),
        ("images.json", '{"images": []}', "holds no list of counts"),
        ("images.json", '{"images": [46]}', "images-00000.* holds 47 records instead of 46"),
        ("features.json", "{}", r"features\.json' is not of records that this library writes"),
        ("features.json", '{"a": ' * 900 + "1" + "}" * 900, "nested deeper than 100"),
        ("answer.labels.txt", "circle\nred\nyes", r"names 3 answers, but features\.json '4'"),
        ("answer.labels.txt", "circle\nred\nyes\nno\nmaybe", r"names 5 answers, but features\.json '4'"),
        ("answer.labels.txt", "circle\nred\nred\nno", "line 3 of .* is empty or there twice"),
        ("answer.labels.txt", "circle\n\nred\nno", "line 2 of .* is empty or there twice"),
        ("tokenizer.json", "{}", r"tokenizer\.json'.*; delete it and run the same command again"),
        ("tokenizer.json", "", r"tokenizer\.json'.*; delete it and run the same command again"),
    ],
)
def test_odd_contents_are_refused(copied: Any, file: str, content: str, message: str) -> None:
    folder, config = copied
    (folder / file).write_text(content)
    with pytest.raises(DataError, match=message) as error:
        prepare(config)
    assert "\n" not in str(error.value)


def test_a_label_file_with_a_byte_order_mark_is_read(copied: Any, dataset: Dataset) -> None:
    folder, config = copied
    labels = folder / "answer.labels.txt"
    labels.write_bytes(b"\xef\xbb\xbf" + labels.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert prepare(config).answer_names == dataset.answer_names


def test_a_tokenizer_outside_the_folder_is_refused(copied: Any) -> None:
    folder, config = copied
    outside(folder / "tokenizer.json")
    with pytest.raises(DataError, match=r"tokenizer\.json' is a link that leaves its folder"):
        prepare(config)


def test_a_linked_folder_is_as_good(copied: Any, dataset: Dataset, tmp_path: pathlib.Path) -> None:
    (tmp_path / "linked").symlink_to(copied[1].data_dir)
    linked = prepare(dataclasses.replace(copied[1], data_dir=str(tmp_path / "linked")))
    assert linked.fingerprint == dataset.fingerprint


def test_a_flipped_bit_is_found_when_its_record_is_read(copied: Any) -> None:
    folder, config = copied
    content = bytearray((folder / TRAIN).read_bytes())
    content[4000] ^= 1
    (folder / TRAIN).write_bytes(content)
    records = prepare(config).records("train")
    with pytest.raises(DataError, match=rf"record \d+ in '.*{TRAIN}' is damaged: .*; delete the folder"):
        records.__getitems__(range(len(records)))


def rewrite(folder: pathlib.Path, dataset: Dataset, change: Callable[[bytes], bytes], file: str = TRAIN) -> None:
    """Writes the records of a file again, each changed."""
    encoded = ArrayRecordDataSource([str(dataset.prepared.folder / file)])
    writer = ArrayRecordWriter(str(folder / file), "group_size:1")
    for index in range(len(encoded)):
        writer.write(change(encoded[index]))
    writer.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.replace(b"answer", b"others"),
        lambda record: record.replace(b"images", b"pictur"),
        lambda record: record.replace(b"is shape", b"\xff\xfe shap"),
        lambda record: b"no protocol buffer",
        lambda record: b"",
    ],
)
def test_records_that_are_none_are_refused(copied: Any, dataset: Dataset, change: Callable[[bytes], bytes]) -> None:
    folder, config = copied
    rewrite(folder, dataset, change)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=rf"record 0 in '.*{TRAIN}' is damaged") as error:
        prepare(config)
    assert "\n" not in str(error.value)


def test_an_answer_without_a_name_is_refused(copied: Any, dataset: Dataset) -> None:
    folder, config = copied
    (folder / "answer.labels.txt").write_text("circle\nred\nyes")
    text = (folder / "features.json").read_text()
    (folder / "features.json").write_text(text.replace('"numClasses": "4"', '"numClasses": "3"'))
    with pytest.raises(DataError, match=r"an answer that is none of the 3 in answer\.labels\.txt"):
        prepare(config).fingerprint  # noqa: B018


def test_records_travel_to_other_processes(dataset: Dataset) -> None:
    records = pickle.loads(pickle.dumps(dataset.records("train")))
    assert records[3] == dataset.records("train")[3]
    assert len(list(records)) == len(records) == 84
    with pytest.raises(IndexError):
        records[84]


def test_the_same_source_prepared_twice_is_the_same(
    dataset: Dataset, config: DataConfig, tmp_path: pathlib.Path
) -> None:
    again = prepare(dataclasses.replace(config, data_dir=str(tmp_path)))
    assert again.fingerprint == dataset.fingerprint
    assert len(again.fingerprint) == 64


def reordered(folder: pathlib.Path, dataset: Dataset) -> None:
    (folder / "answer.labels.txt").write_text("red\ncircle\nyes\nno")


def renamed(folder: pathlib.Path, dataset: Dataset) -> None:
    (folder / "answer.labels.txt").write_text("circle\nblue\nyes\nno")


def other_tokenizer(folder: pathlib.Path, dataset: Dataset) -> None:
    text = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text(text.replace('"lowercase": true', '"lowercase": false'))
    edit(folder / "tokenizer.json", lambda tree: tree["model"]["vocab"].update(zebra=len(tree["model"]["vocab"])))


def one_answer(folder: pathlib.Path, dataset: Dataset) -> None:
    changes = iter([True])
    first = dataset.records("train")._encoded[0]
    other = next(
        record
        for record in map(dataset.records("train")._encoded.__getitem__, range(84))
        if answer(record) != answer(first)
    )

    def change(record: bytes) -> bytes:
        return record.replace(answer(record), answer(other)) if next(changes, False) else record

    rewrite(folder, dataset, change)


def answer(record: bytes) -> bytes:
    start = record.index(b"answer")
    return record[start : start + 13]


def one_image(folder: pathlib.Path, dataset: Dataset) -> None:
    rewrite(folder, dataset, lambda image: image.replace(b"IDAT", b"IDAU", 1), IMAGES)


@pytest.mark.parametrize("change", [reordered, renamed, other_tokenizer, one_answer, one_image])
def test_other_data_has_another_fingerprint(copied: Any, dataset: Dataset, change: Callable[..., None]) -> None:
    folder, config = copied
    assert prepare(config).fingerprint == dataset.fingerprint
    change(folder, dataset)
    assert prepare(config).fingerprint != dataset.fingerprint


def test_another_source_has_another_fingerprint(
    dataset: Dataset, config: DataConfig, tmp_path: pathlib.Path, raw_makers: dict[str, Callable[..., Any]]
) -> None:
    source = raw_makers["easy_vqa"](tmp_path / "raw")
    edit(source / "train" / "questions.json", lambda rows: [["is it so?", *row[1:]] for row in rows])
    other = prepare(dataclasses.replace(config, source=str(source), data_dir=str(tmp_path / "prepared")))
    assert other.split_sizes == dataset.split_sizes
    assert other.fingerprint != dataset.fingerprint


def test_a_fingerprint_reads_few_records_evenly_spaced(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "RECORDS_OF_A_SPLIT", 5)
    read: list[int] = []
    record = Records._record
    monkeypatch.setattr(Records, "_record", lambda self, index: read.append(index) or record(self, index))
    fingerprint.fingerprint(dataset.prepared, dataset.text)
    assert np.array_equal(read[-5:], [0, 21, 42, 62, 83])
    assert len(read) == 15
