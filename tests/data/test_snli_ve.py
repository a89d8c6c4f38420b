"""SNLI-VE from hand-made files in the official layout."""

import json
import pathlib
from collections.abc import Callable

import pytest
from official_data import brightness, make_snli_ve, official, records, snli_ve_row, write_lines

from smarttrim_jax.data.builders.snli_ve import SNLIVE
from smarttrim_jax.errors import DataError

TRAIN = [
    snli_ve_row("101.jpg#0r1n"),
    snli_ve_row("101.jpg#0r1e", "entailment", sentence2="Une femme âgée rit."),
    snli_ve_row("101.jpg#1r1c", "-"),
    snli_ve_row("102.jpg#4r1c", "contradiction"),
    snli_ve_row("103.jpg#4r1c", "contradiction", Flickr30K_ID="103"),
]
DEV = [snli_ve_row("104.jpg#0r1e", "entailment"), snli_ve_row("104.jpg#0r1n")]
TEST = [snli_ve_row("105.jpg#0r1e", "entailment")]


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    return make_snli_ve(tmp_path / "snli_ve", train=TRAIN, dev=DEV, test=TEST)


def test_prepared_records_and_images_come_back(
    folder: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snli_ve = official("snli_ve", folder, tmp_path / "prepared")
    assert (snli_ve.answer_names, snli_ve.num_images) == (("contradiction", "neutral", "entailment"), 1)
    assert snli_ve.split_sizes == {"train": 4, "calibration": 2, "test": 1}
    said = "SNLI-VE: 1 of 5 rows of 'snli_ve_train.jsonl' have no label; left out"
    assert capsys.readouterr().out.count(said) == 1
    for split, rows in (("train", TRAIN), ("calibration", DEV), ("test", TEST)):
        expected = {row["pairID"]: row for row in rows if row["gold_label"] != "-"}
        found = records(snli_ve, split)
        assert {record["id"].decode() for record in found} == set(expected)
        for record in found:
            row = expected[record["id"].decode()]
            assert record["text"].decode() == row["sentence2"]
            assert snli_ve.answer_names[record["answer"]] == row["gold_label"]
            assert record["metadata"] == {"pairID": row["pairID"]}
            assert abs(brightness(record["images"][0]) - int(row["Flickr30K_ID"])) <= 3


def dev(*rows: object) -> Callable[[pathlib.Path], object]:
    return lambda folder: write_lines(folder / "snli_ve_dev.jsonl", rows)


BAD = "faulty rows of 'snli_ve_dev.jsonl':"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda folder: (folder / "snli_ve_test.jsonl").unlink(),
            "SNLI-VE in '.*' lacks snli_ve_test.jsonl; fetch it",
        ),
        (dev(DEV[0], json.dumps(DEV[1])[:-5]), f"{BAD} 1 .row 2 .it is no JSON object"),
        (dev([DEV[0]], "7"), f"{BAD} 2 .row 1 .it is no JSON object"),
        (dev(DEV[0], {**DEV[1], "pairID": 7}), "its pairID is no text"),
        (dev(DEV[0], {**DEV[1], "sentence2": ""}), "its sentence2 is no text"),
        (
            dev(DEV[0], {key: value for key, value in DEV[1].items() if key != "gold_label"}),
            "its gold_label is 'None', not contradiction, neutral, entailment or -",
        ),
        (dev(DEV[0], {**DEV[1], "gold_label": ["neutral"]}), r"its gold_label is '\['neutral'\]', not"),
        (dev(DEV[0], {**DEV[1], "Flickr30K_ID": "../104"}), "its Flickr30K_ID is '../104', no name of an image"),
        (dev(DEV[0], {**DEV[1], "Flickr30K_ID": 104}), "its Flickr30K_ID is '104', no name of an image"),
        (dev(DEV[0], DEV[0]), f"{BAD} 1 .row 2 '104.jpg#0r1e' .its pairID is that of row 1"),
        (
            lambda folder: (folder / "flickr30k-images" / "101.jpg").unlink(),
            r"images that are missing: 1 \(train '101.jpg#0r1n' '.*/flickr30k-images/101.jpg'\)",
        ),
        (
            lambda folder: (folder / "flickr30k-images" / "105.jpg").write_bytes(b"GIF89a"),
            r"images that cannot be read: 1 \(test '105.jpg#0r1e' '.*/flickr30k-images/105.jpg'\)",
        ),
    ],
)
def test_faults_are_errors_that_say_where(
    folder: pathlib.Path, tmp_path: pathlib.Path, damage: Callable[[pathlib.Path], object], message: str
) -> None:
    damage(folder)
    with pytest.raises(DataError, match=message) as error:
        official("snli_ve", folder, tmp_path / "prepared")
    assert "\n" not in str(error.value)


def test_without_a_source_the_error_says_what_is_needed() -> None:
    with pytest.raises(
        DataError, match=r"SNLI-VE needs data\.source, a folder with its official files, which github"
    ):
        list(SNLIVE().records("train"))
