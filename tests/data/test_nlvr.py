"""NLVR from hand-made files in the official layout, and from the official archives where they are."""

import itertools
import pathlib
import tarfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from smarttrim_jax.data.builders.nlvr import NLVR
from smarttrim_jax.data.config import DataConfig
from smarttrim_jax.data.dataset import Dataset, prepare
from smarttrim_jax.data.images import decode
from smarttrim_jax.errors import DataError

ARCHIVES = pathlib.Path(__file__).parents[2].parent / "shared" / "data"
SHARED = "There is a Blue  square."
ROWS = {
    # Of the numbers 84 to 103 the hash holds out 85, 92, 93 and 99.
    "dev": [(f"{i // 2}-{i % 2}", SHARED if i == 173 else f"Sentence {i // 2} is true") for i in range(168, 208)],
    "test": [
        ("900-0", "there is a blue square"),
        ("901-0", "another sentence"),
        ("901-1", "another sentence"),
    ],
}


def open_nlvr(source: pathlib.Path, data_dir: pathlib.Path) -> Dataset:
    return prepare(
        DataConfig(
            dataset="nlvr",
            image_size=32,
            text_length=40,
            batch_size=4,
            data_dir=str(data_dir),
            source=str(source),
        )
    )


def records(dataset: Dataset, split: str) -> list[dict[str, Any]]:
    source = dataset.records(split)
    return source.__getitems__(range(len(source)))


def identifiers(dataset: Dataset, split: str) -> set[str]:
    """Of the examples "dev-12-3-0", the identifiers "dev-12-3"."""
    return {record["id"].decode().rsplit("-", 1)[0] for record in records(dataset, split)}


@pytest.fixture(scope="module")
def folder(raw_makers: dict[str, Callable[..., Any]], tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return raw_makers["nlvr"](tmp_path_factory.mktemp("nlvr") / "nlvr", ROWS)


@pytest.fixture(scope="module")
def nlvr(folder: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return open_nlvr(folder, tmp_path_factory.mktemp("prepared"))


def test_splits_part_identifiers_and_all_six_orders_stay_together(nlvr: Dataset) -> None:
    parts = {split: identifiers(nlvr, split) for split in ("train", "calibration", "test")}
    for split, part in parts.items():
        assert nlvr.split_sizes[split] == 6 * len(part)
    everything = {f"{split}-{identifier}" for split, rows in ROWS.items() for identifier, _ in rows}
    assert set.union(*parts.values()) == everything - {"dev-86-1"}
    numbers = [{identifier.split("-")[1] for identifier in part} for part in parts.values()]
    assert all(not a & b for a, b in itertools.combinations(numbers, 2))
    assert numbers[1] == {"85", "92", "93", "99"}


def test_a_sentence_of_test_is_dropped_from_training_whatever_its_case_and_stop(nlvr: Dataset) -> None:
    assert "dev-86-1" not in identifiers(nlvr, "train") | identifiers(nlvr, "calibration")
    assert "test-900-0" in identifiers(nlvr, "test")


def test_an_example_has_its_three_boxes_in_its_order_and_its_label(nlvr: Dataset) -> None:
    assert (nlvr.num_images, nlvr.answer_names) == (3, ("false", "true"))
    orders = list(itertools.permutations((10, 11, 12)))
    rows = [identifier for identifier, _ in ROWS["dev"]]
    for record in records(nlvr, "train"):
        _, number, index, order = record["id"].decode().split("-")
        row = rows.index(f"{number}-{index}")
        assert record["answer"] == row % 2
        assert record["text"].decode() == ROWS["dev"][row][1]
        for data, green in zip(record["images"], orders[int(order)], strict=True):
            box = np.asarray(decode(data, "x"))
            assert box.shape == (100, 100, 3)
            assert (box == (row, green, 200)).all()


def test_all_examples_of_a_sentence_are_a_group(nlvr: Dataset) -> None:
    for split in ("train", "test"):
        texts: dict[str, set[bytes]] = {}
        for record in records(nlvr, split):
            raw_split, number, _, _ = record["id"].decode().split("-")
            assert record["metadata"] == {"group": f"{raw_split}-{number}"}
            texts.setdefault(record["metadata"]["group"], set()).add(record["text"])
        if split == "test":
            assert texts == {"test-900": {b"there is a blue square"}, "test-901": {b"another sentence"}}


def test_archives_give_what_the_folder_gives(nlvr: Dataset, folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as archive:
        archive.add(folder, "nlvr")
    parts = tmp_path / "parts"
    parts.mkdir()
    for split in ("dev", "test"):
        with tarfile.open(parts / f"nlvr-{split}.tar.gz", "w:gz") as archive:
            archive.add(folder / split, split)
    for number, source in enumerate((tmp_path / "all.tar.gz", parts)):
        packed = open_nlvr(source, tmp_path / str(number))
        for split in nlvr.split_sizes:
            for a, b in zip(records(nlvr, split), records(packed, split), strict=True):
                assert (a["id"], a["text"], a["answer"]) == (b["id"], b["text"], b["answer"])
                assert list(a["images"]) == list(b["images"])


def test_an_official_train_is_train_and_calibration_stays_off_its_sentences(
    raw_makers: dict[str, Callable[..., Any]], nlvr: Dataset, tmp_path: pathlib.Path
) -> None:
    train = [("700-0", "Another sentence"), ("701-0", "sentence 92 is true"), ("702-0", "new")]
    source = raw_makers["nlvr"](tmp_path / "nlvr", ROWS | {"train": train})
    full = open_nlvr(source, tmp_path / "prepared")
    assert identifiers(full, "train") == {"train-701-0", "train-702-0"}
    expected = identifiers(nlvr, "calibration") - {"dev-92-0", "dev-92-1"}
    assert identifiers(full, "calibration") == expected


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "test" / "test.json").unlink(), "lacks test/test.json"),
        (
            lambda folder: (folder / "dev" / "dev.json").write_text('{"label": "true"}\n'),
            "faulty rows of 'dev/dev.json': 1 .row 1 .it lacks directory, identifier",
        ),
        (
            lambda folder: next(folder.glob("dev/images/*/dev-84-0-3.png")).unlink(),
            "images that are missing: 1 .dev/images/./dev-84-0-3.png",
        ),
        (
            lambda folder: next(folder.glob("dev/images/*/dev-84-0-3.png")).write_bytes(b"\x89PNG"),
            "images that cannot be read: 1 .dev/images/./dev-84-0-3.png",
        ),
    ],
)
def test_damaged_sources_are_errors_that_name_the_file(
    raw_makers: dict[str, Callable[..., Any]],
    tmp_path: pathlib.Path,
    damage: Callable[[pathlib.Path], object],
    message: str,
) -> None:
    rows = {"dev": ROWS["dev"][:1] + ROWS["dev"][6:24], "test": ROWS["test"]}
    source = raw_makers["nlvr"](tmp_path / "nlvr", rows)
    damage(source)
    with pytest.raises(DataError, match=message):
        open_nlvr(source, tmp_path / "prepared")
    assert not (tmp_path / "prepared" / "nlvr" / NLVR.version).exists()


def test_a_source_too_small_for_calibration_is_an_error(
    raw_makers: dict[str, Callable[..., Any]], tmp_path: pathlib.Path
) -> None:
    source = raw_makers["nlvr"](tmp_path / "nlvr", {"dev": ROWS["dev"][:1], "test": ROWS["test"]})
    with pytest.raises(DataError, match="no example for the split 'calibration'"):
        open_nlvr(source, tmp_path / "prepared")


def test_a_missing_source_and_a_truncated_archive_are_errors(tmp_path: pathlib.Path, folder: pathlib.Path) -> None:
    with pytest.raises(DataError, match="no data at"):
        open_nlvr(tmp_path / "nowhere", tmp_path / "prepared")
    with pytest.raises(DataError, match="git clone"):
        prepare(DataConfig("nlvr", 32, 40, 4, data_dir=str(tmp_path / "prepared")))
    whole = tmp_path / "nlvr.tar.gz"
    with tarfile.open(whole, "w:gz") as archive:
        archive.add(folder / "test", "nlvr/test")
    whole.write_bytes(whole.read_bytes()[:-2000])
    with pytest.raises(DataError, match=r"cannot read the archive '.*nlvr\.tar\.gz'"):
        open_nlvr(whole, tmp_path / "prepared")


@pytest.mark.slow
@pytest.mark.skipif(not ARCHIVES.is_dir(), reason="the official archives are not beside this checkout")
def test_the_official_archives(tmp_path: pathlib.Path) -> None:
    nlvr = open_nlvr(ARCHIVES, tmp_path)
    assert nlvr.split_sizes == {"train": 4_560, "calibration": 504, "test": 5_940}
    train, calibration, test = (records(nlvr, split) for split in ("train", "calibration", "test"))
    texts = [{record["text"].decode().lower().strip(" .") for record in part} for part in (train, calibration, test)]
    assert not texts[0] & texts[1]
    assert not texts[0] & texts[2]
    assert not texts[1] & texts[2]
    pictures = [{frozenset(record["images"]) for record in part} for part in (train, calibration)]
    assert not pictures[0] & pictures[1]
    for record in test[:60]:
        for data in record["images"]:
            assert (np.asarray(decode(data, "x"))[[0, -1]] != 128).any()  # a box, not the grey between
    assert 0.5 < np.mean([record["answer"] for record in test]) < 0.6
