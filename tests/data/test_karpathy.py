"""Flickr30k and COCO from hand-made files in Karpathy's splits."""

import json
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
from official_data import brightness, caption_row, coco_row, make_captions, official, records, write_json

from smarttrim_jax.data.builders.coco import COCO
from smarttrim_jax.data.builders.flickr30k import Flickr30k
from smarttrim_jax.data.builders.karpathy import KarpathySplits
from smarttrim_jax.errors import ConfigError, DataError

# The hash holds out 227.jpg of Flickr30k, and the numbers 207 and 212 of COCO.
FLICKR = [
    caption_row(101, "train", "Two dogs.\n", " Zwei Hunde – im Schnee", "Two dogs.\n"),  # noqa: RUF001
    caption_row(227, "train"),
    caption_row(102, "val", "A man.", "", " "),
    caption_row(103, "val"),
    caption_row(104, "test"),
]
CAPTIONS = [
    coco_row(104, "test", "A cat on a mat.", "A mat under a cat."),
    coco_row(101, "train"),
    coco_row(207, "train"),
    coco_row(102, "restval"),
    coco_row(212, "val"),
    coco_row(103, "val"),
]


@pytest.fixture
def flickr30k(tmp_path: pathlib.Path) -> pathlib.Path:
    return make_captions(tmp_path / "flickr", "flickr30k", FLICKR)


@pytest.fixture
def coco(tmp_path: pathlib.Path) -> pathlib.Path:
    return make_captions(tmp_path / "coco", "coco", CAPTIONS)


def ids(builder: KarpathySplits) -> dict[str, list[str]]:
    return {split: [record.id for record in builder.records(split)] for split in ("train", "calibration", "test")}


def test_splits_are_karpathys_and_val_may_be_trained_on(flickr30k: pathlib.Path, coco: pathlib.Path) -> None:
    assert ids(Flickr30k(str(flickr30k))) == {
        "train": ["101.jpg", "227.jpg"],
        "calibration": ["102.jpg", "103.jpg"],
        "test": ["104.jpg"],
    }
    assert ids(Flickr30k(str(flickr30k), options="train=train+val")) == {
        "train": ["101.jpg", "102.jpg", "103.jpg"],
        "calibration": ["227.jpg"],
        "test": ["104.jpg"],
    }
    assert ids(COCO(str(coco))) == {"train": ["101", "207", "102"], "calibration": ["212", "103"], "test": ["104"]}
    assert ids(COCO(str(coco), options="train=train+val")) == {
        "train": ["101", "102", "103"],
        "calibration": ["207", "212"],
        "test": ["104"],
    }
    with pytest.raises(ConfigError, match="train"):
        COCO(str(coco), options="train=restval")


def test_references_are_the_captions_as_written(flickr30k: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    builder = Flickr30k(str(flickr30k))
    first = next(iter(builder.records("train")))
    assert first.references == tuple(sentence["raw"] for sentence in FLICKR[0]["sentences"])
    assert (first.images, first.metadata) == ([str(flickr30k / "flickr30k-images/101.jpg")], {"image_id": 101})
    assert next(iter(builder.records("calibration"))).references == ("A man.",)
    said = "Flickr30k: 2 captions of 'dataset_flickr30k.json' are blank; left out\n"
    assert capsys.readouterr().out == said


def test_the_file_of_the_splits_may_lie_in_a_folder_of_its_own(coco: pathlib.Path) -> None:
    plain = ids(COCO(str(coco)))
    (coco / "karpathy").mkdir()
    (coco / "dataset_coco.json").rename(coco / "karpathy" / "dataset_coco.json")
    assert ids(COCO(str(coco))) == plain
    (coco / "karpathy" / "dataset_coco.json").unlink()
    with pytest.raises(DataError, match=r"COCO in '.*' lacks dataset_coco.json; fetch it from cocodataset.org and"):
        ids(COCO(str(coco)))


@pytest.mark.parametrize("name", ["flickr30k", "coco"])
def test_prepared_records_and_images_come_back(name: str, tmp_path: pathlib.Path, request: Any) -> None:
    data = official(name, request.getfixturevalue(name), tmp_path / "prepared")
    assert data.split_sizes == {"train": 2 + (name == "coco"), "calibration": 2, "test": 1}
    rows = {"flickr30k": FLICKR, "coco": CAPTIONS}[name]
    for split in data.split_sizes:
        for record in records(data, split):
            number = record["metadata"]["image_id"]
            row = next(row for row in rows if f"{number}.jpg" in row["filename"])
            raw = [sentence["raw"] for sentence in row["sentences"] if sentence["raw"].strip()]
            assert [text.decode() for text in record["references"]] == raw
            assert record["id"].decode() == (row["filename"] if name == "flickr30k" else str(number))
            assert abs(brightness(record["images"][0]) - number) <= 3


def change(edit: Callable[[list[dict[str, Any]]], object]) -> Callable[[pathlib.Path], object]:
    """What edits the rows of COCO."""

    def damage(folder: pathlib.Path) -> None:
        rows = json.loads(json.dumps(CAPTIONS))
        edit(rows)
        write_json(folder / "dataset_coco.json", {"images": rows})

    return damage


BAD = "faulty rows of 'dataset_coco.json':"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: (folder / "dataset_coco.json").write_text('{"images": [{'),
            "'dataset_coco.json' is damaged: ",
        ),
        (
            lambda folder: write_json(folder / "dataset_coco.json", {"images": {}}),
            "it holds no list 'images'; fetch it",
        ),
        (change(lambda rows: rows.__setitem__(1, [])), f"{BAD} 1 .row 2 .it is no object"),
        (
            change(lambda rows: [row.update(split="testing") for row in rows[3:]]),
            f"{BAD} 3 .row 4 '102' .its split is 'testing', .*, row 5 '212'",
        ),
        (change(lambda rows: rows[0].update(filename="../../x.jpg")), "its filename is '../../x.jpg'"),
        (change(lambda rows: rows[0].update(filepath="/etc")), "its filepath is '/etc', no folder"),
        (change(lambda rows: rows[0].pop("cocoid")), "its cocoid is 'None', no whole number"),
        (change(lambda rows: rows[0].update(sentences="A cat.")), "its sentences are no list of objects with a text"),
        (change(lambda rows: rows[0]["sentences"][1].pop("raw")), "its sentences are no list of objects with a text"),
        (change(lambda rows: rows[0].update(sentences=[])), "it has no caption"),
        (change(lambda rows: rows[0].update(sentences=[{"raw": " "}])), "it has no caption"),
        (
            change(lambda rows: rows[5].update(cocoid=101)),
            f"{BAD} 1 .row 6 '101' .its cocoid is that of row 2",
        ),
        (
            lambda folder: (folder / f"val2014/COCO_val2014_{102:012}.jpg").unlink(),
            r"images that are missing: 1 \(train '102' '.*/val2014/COCO_val2014_000000000102.jpg'\)",
        ),
    ],
)
def test_faults_are_errors_that_say_where(
    coco: pathlib.Path, tmp_path: pathlib.Path, damage: Callable[[pathlib.Path], object], message: str
) -> None:
    damage(coco)
    with pytest.raises(DataError, match=message) as error:
        official("coco", coco, tmp_path / "prepared")
    assert "\n" not in str(error.value)


def test_an_image_of_flickr30k_has_a_number(flickr30k: pathlib.Path, tmp_path: pathlib.Path) -> None:
    write_json(flickr30k / "dataset_flickr30k.json", {"images": [{**FLICKR[0], "filename": "dogs.jpg"}]})
    with pytest.raises(DataError, match=r"its filename is 'dogs.jpg', no number of an image"):
        official("flickr30k", flickr30k, tmp_path / "prepared")
