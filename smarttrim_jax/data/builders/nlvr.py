"""NLVR v1 (Suhr et al. 2017, CC-BY-4.0): is a sentence true of three boxes of coloured shapes?"""

import dataclasses
import hashlib
import io
import json
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image

from smarttrim_jax.data.builders.base import AnswerBuilder, Examples
from smarttrim_jax.data.builders.raw_files import Reader, open_source
from smarttrim_jax.data.images import decode
from smarttrim_jax.errors import DataError

ANSWERS = ("false", "true")
ORDERS = 6
SPLITS = ("train", "dev", "test")
KEYS = {"identifier", "directory", "sentence", "label", "structured_rep"}
# Columns where the boxes begin in the 400x100 picture; grey lies between them.
BOX_STARTS = (0, 150, 300)
BOX_SIZE = 100

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class RawSplit:
    """An official split: its name, the lines of its JSON file, and how to read the source's files."""

    name: str
    rows: list[Row]
    read: Reader

    def only(self, rows: list[Row]) -> "RawSplit":
        """The same split with these rows."""
        return dataclasses.replace(self, rows=rows)


class NLVR(AnswerBuilder):
    """NLVR v1: human-written sentences about three 100x100 boxes, true or false.

    The files: `git clone https://github.com/lil-lab/nlvr`, whose folder `nlvr` is the `source`; or an archive
    (.tar.gz) of it; or a folder of archives of its parts. `dev` and `test` must be there, `train` may be.

    Every identifier has six examples, one for each order of the boxes; splits part identifiers, never orders.

    | split | with `dev` and `test` only | with `train` too |
    |---|---|---|
    | train | dev, less calibration | train |
    | calibration | about a tenth of dev, by a hash of the sentence's number | the same |
    | test | test (5,940 examples of 990 identifiers) | test |

    Sentences of test are dropped from train and calibration, and calibration shares neither a sentence nor an
    image with train. Published dev and test give 4,560 examples for train and 504 for calibration.
    Preparation takes about 10 seconds and 50 MB.

        builder = NLVR(source="nlvr/nlvr", data_dir="...", file_format="array_record")
        builder.download_and_prepare()
        builder.as_data_source(split="train")
    """

    name = "nlvr"
    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return self.describe(ANSWERS, homepage="https://github.com/lil-lab/nlvr", license="CC-BY-4.0")

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Examples]:
        raw = _read_source(self.source)
        test_sentences = {_sentence(row) for row in raw["test"].rows}
        dev = [row for row in raw["dev"].rows if _sentence(row) not in test_sentences]
        held_out = [row for row in dev if _held_out(row)]
        if "train" in raw:
            rows = raw["train"].rows
            train = raw["train"].only([row for row in rows if _sentence(row) not in test_sentences])
        else:
            train = raw["dev"].only([row for row in dev if not _held_out(row)])
        seen = {key for row in train.rows for key in (_sentence(row), _picture(row))}
        calibration = raw["dev"].only([row for row in held_out if not seen & {_sentence(row), _picture(row)}])
        splits = {"train": train, "calibration": calibration, "test": raw["test"]}
        return {split: self._generate_examples(split, _examples(part)) for split, part in splits.items()}


def _sentence(row: Row) -> str:
    """The sentence up to case, spaces and the full stop."""
    return " ".join(row["sentence"].lower().split()).rstrip(" .")


def _picture(row: Row) -> str:
    """What the boxes show, in any order of the boxes and their shapes."""
    boxes = [sorted(json.dumps(shape, sort_keys=True) for shape in box) for box in row["structured_rep"]]
    return json.dumps(sorted(boxes))


def _held_out(row: Row) -> bool:
    """Whether a dev row is for calibration; the rows of a sentence's number stay together."""
    number = row["identifier"].split("-")[0]
    return hashlib.sha256(number.encode()).digest()[0] % 10 == 0


def _read_source(source: str) -> dict[str, RawSplit]:
    """The raw splits that the source holds: dev, test and perhaps train."""
    if not source:
        raise DataError(
            "NLVR needs data.source, its folder nlvr/nlvr; run: git clone https://github.com/lil-lab/nlvr"
        )
    read = open_source(source, SPLITS)
    raw = {}
    for split in SPLITS:
        rows = read(f"{split}/{split}.json")
        if rows is not None:
            raw[split] = RawSplit(split, _rows(rows, f"{split}/{split}.json"), read)
        elif split != "train":
            raise DataError(f"NLVR source '{source}' lacks {split}/{split}.json; fetch it")
    return raw


def _rows(lines: bytes, name: str) -> list[Row]:
    try:
        rows = [json.loads(line) for line in lines.splitlines() if line.strip()]
        complete = all(row.keys() >= KEYS and row["label"] in ANSWERS for row in rows)
    except (ValueError, AttributeError):
        complete = False
    if not complete:
        raise DataError(f"NLVR file '{name}' is damaged: each line must hold {', '.join(sorted(KEYS))}")
    return rows


def _examples(raw: RawSplit) -> Examples:
    for row in raw.rows:
        encoded: dict[bytes, bytes] = {}
        for order in range(ORDERS):
            name = f"{raw.name}-{row['identifier']}-{order}"
            picture = raw.read(f"{raw.name}/images/{row['directory']}/{name}.png")
            if picture is None:
                raise DataError(f"NLVR image '{name}.png' is missing; fetch the data set again")
            boxes = _boxes(decode(picture, f"{name}.png"), encoded)
            yield name, {"id": name, "images": boxes, "text": row["sentence"], "answer": row["label"]}


def _boxes(picture: Image.Image, encoded: dict[bytes, bytes]) -> list[bytes]:
    """The three boxes as PNG files; `encoded` remembers them: the orders of a row share their boxes."""
    boxes = []
    for start in BOX_STARTS:
        box = picture.crop((start, 0, start + BOX_SIZE, BOX_SIZE))
        pixels = box.tobytes()
        if pixels not in encoded:
            file = io.BytesIO()
            box.save(file, "PNG")
            encoded[pixels] = file.getvalue()
        boxes.append(encoded[pixels])
    return boxes
