"""NLVR2 from hand-made files in the official layout."""

import json
import pathlib
from collections.abc import Callable

import pytest
from official_data import brightness, make_nlvr2, nlvr2_row, official, records, shade, write_lines

from smarttrim_jax.data.builders.nlvr2 import NLVR2
from smarttrim_jax.errors import ConfigError, DataError

HELD_OUT = 57
"""Number of a set that the hash holds out for test=dev."""
TRAIN = [
    nlvr2_row("train-1-0-0", directory=7),
    nlvr2_row("train-1-0-1", "Ein Hund läuft schnell.", "False", directory="7"),
    nlvr2_row("train-2-3-0", directory=11),
    nlvr2_row("train-2-1-0", label="False", directory=11),
    nlvr2_row(f"train-{HELD_OUT}-0-0", directory=0),
]
DEV = [nlvr2_row("dev-3-0-0"), nlvr2_row("dev-3-1-0", label="False"), nlvr2_row("dev-4-2-1")]
TEST1 = [nlvr2_row("test1-5-0-0"), nlvr2_row("test1-5-3-0", label="False")]
TEST2 = [nlvr2_row("test2-6-0-0")]


def write(folder: pathlib.Path) -> pathlib.Path:
    return make_nlvr2(folder, train=TRAIN, dev=DEV, test1=TEST1, test2=TEST2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return write(tmp_path_factory.mktemp("nlvr2") / "root")


def ids(folder: pathlib.Path, split: str, options: str = "") -> list[str]:
    return [record.id for record in NLVR2(str(folder), options=options).records(split)]


def names(rows: list[dict[str, str]]) -> list[str]:
    return [row["identifier"] for row in rows]


def test_splits_are_the_official_ones(folder: pathlib.Path) -> None:
    for options, test in (("", TEST1), ("test=test2", TEST2)):
        assert ids(folder, "train", options) == names(TRAIN)
        assert ids(folder, "calibration", options) == names(DEV)
        assert ids(folder, "test", options) == names(test)
    assert ids(folder, "train", "test=dev") == names(TRAIN[:4])
    assert ids(folder, "calibration", "test=dev") == names(TRAIN[4:])
    assert ids(folder, "test", "test=dev") == names(DEV)
    with pytest.raises(ConfigError, match="test"):
        NLVR2(str(folder), options="test=train")


def test_a_record_is_a_sentence_about_two_photographs(folder: pathlib.Path) -> None:
    records = list(NLVR2(str(folder)).records("train"))
    second = records[1]
    assert (second.text, second.answer) == ("Ein Hund läuft schnell.", "False")
    place = folder / "images" / "train"
    assert second.images == [str(place / "7" / f"train-1-0-img{side}.png") for side in (0, 1)]
    assert records[2].images[0] == str(place / "11" / "train-2-3-img0.png")
    groups = [record.metadata["group"] for record in records]
    assert groups == ["train-1-0", "train-1-1", "train-2-0", "train-2-0", f"train-{HELD_OUT}-0"]
    test = list(NLVR2(str(folder)).records("test"))
    assert test[1].images[1] == str(folder / "test1" / "test1-5-3-img1.png")
    assert {record.metadata["group"] for record in test} == {"test1-5-0"}


def test_prepared_records_and_images_come_back(tmp_path: pathlib.Path) -> None:
    own = write(tmp_path / "root")
    nlvr2 = official("nlvr2", own, tmp_path / "prepared")
    assert (nlvr2.answer_names, nlvr2.num_images) == (("False", "True"), 2)
    assert nlvr2.split_sizes == {"train": 5, "calibration": 3, "test": 2}
    for split, rows in (("train", TRAIN), ("calibration", DEV), ("test", TEST1)):
        by_id = {record["id"].decode(): record for record in records(nlvr2, split)}
        for row in rows:
            record = by_id[row["identifier"]]
            assert record["answer"] == (row["label"] == "True")
            number, pair, sentence = map(int, row["identifier"].split("-")[1:])
            assert record["metadata"]["group"].endswith(f"-{number}-{sentence}")
            for side, image in enumerate(record["images"]):
                assert abs(brightness(image) - shade(number, pair, side)) <= 3


def dev(*rows: object) -> Callable[[pathlib.Path], object]:
    return lambda folder: write_lines(folder / "nlvr2" / "data" / "dev.json", rows)


BAD = "faulty rows of 'nlvr2/data/dev.json':"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: (folder / "nlvr2/data/test1.json").unlink(),
            "NLVR2 in '.*' lacks nlvr2/data/test1.json; fetch",
        ),
        (
            lambda folder: [path.unlink() for path in (folder / "nlvr2/data").glob("*.json")],
            "NLVR2 in '.*' lacks nlvr2/data/train.json, nlvr2/data/dev.json, nlvr2/data/test1.json; fetch",
        ),
        (dev(DEV[0], json.dumps(DEV[1])[:-9]), f"{BAD} 1 .row 2 .it is no JSON object"),
        (dev([], 7), f"{BAD} 2 .row 1 .it is no JSON object"),
        (dev(DEV[0], {**DEV[1], "label": "-"}), "row 2 'dev-3-1-0' .its label is '-', not False or True"),
        (dev(DEV[0], {k: v for k, v in DEV[1].items() if k != "label"}), "it has no label"),
        (dev(DEV[0], {**DEV[1], "label": True}), "its label is 'True', not False or True"),
        (dev({**DEV[1], "sentence": " "}, DEV[0]), "row 1 'dev-3-1-0' .its sentence is no text"),
        (
            dev({**DEV[1], "identifier": "dev-../../x-0-0"}, DEV[0]),
            "its identifier is 'dev-../../x-0-0', not dev-SET-PAIR",
        ),
        (dev({**DEV[1], "identifier": "test1-3-1-0"}, DEV[0]), "its identifier is 'test1-3-1-0', not dev-SET"),
        (dev({**DEV[1], "identifier": None}, DEV[0]), "its identifier is 'None'"),
        (dev(DEV[0], DEV[1], DEV[0]), f"{BAD} 1 .row 3 'dev-3-0-0' .its identifier is that of row 1"),
        (
            lambda folder: write_lines(folder / "nlvr2/data/train.json", [{**TRAIN[0], "directory": "../.."}]),
            r"faulty rows of 'nlvr2/data/train.json': 1 \(row 1 'train-1-0-0' \(its directory is '../..'\)",
        ),
        (
            lambda folder: [(folder / "dev" / f"dev-3-{pair}-img1.png").unlink() for pair in (0, 1)],
            r"images that are missing: 2 \(calibration 'dev-3-0-0' '.*/dev/dev-3-0-img1.png', calibration",
        ),
        (
            lambda folder: (folder / "test1" / "test1-5-0-img0.png").write_text("not found"),
            r"images that cannot be read: 1 \(test 'test1-5-0-0' '.*/test1/test1-5-0-img0.png'\)",
        ),
    ],
)
def test_faults_are_errors_that_say_where(
    tmp_path: pathlib.Path, damage: Callable[[pathlib.Path], object], message: str
) -> None:
    own = write(tmp_path / "root")
    damage(own)
    with pytest.raises(DataError, match=message) as error:
        official("nlvr2", own, tmp_path / "prepared")
    assert "\n" not in str(error.value)
