"""NLVR v1 (Suhr et al. 2017, CC-BY-4.0): is a sentence true of three boxes of coloured shapes?"""

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

from PIL import Image

from smarttrim_jax.data.builders.base import DatasetBuilder
from smarttrim_jax.data.builders.held_out import is_held_out
from smarttrim_jax.data.builders.rows import good_rows, read_lines
from smarttrim_jax.data.images import decode, encode_png
from smarttrim_jax.data.schema import Record, is_text
from smarttrim_jax.errors import DataError, quoted

ANSWERS = ("false", "true")
ORDERS = 6
CALIBRATION_PERIOD = 10
SPLITS = ("train", "dev", "test")
KEYS = {"identifier", "directory", "sentence", "label", "structured_rep"}
# Identifiers and directories become parts of a path, and must not lead elsewhere.
PLAIN = re.compile(r"[\w-]+")
BOXES = 3
# Columns at which the boxes begin in the 400x100 picture; the space between them is grey.
BOX_STARTS = (0, 150, 300)
BOX_SIZE = 100
PICTURE_SIZE = (400, 100)

Row = dict[str, Any]


class NLVR(DatasetBuilder):
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
    Preparation takes about 20 seconds and 50 MB.
    """

    version = "1.0.1"
    roots = SPLITS

    def answers(self) -> tuple[str, ...]:
        """Names the classes: false and true."""
        return ANSWERS

    def records(self, split: str) -> Iterator[Record]:
        """Yields six records per identifier, one for each order of the boxes; see the class for the splits.

        Args:
            split: Name of the split: train, calibration or test.

        Yields:
            Records with three images, the boxes as PNG bytes, and an answer. Those of the same sentence, in all
            orders of the boxes, have the same `group` in their metadata.
        """
        raw_split, rows = self._splits[split]
        for row in rows:
            encoded: dict[bytes, bytes] = {}
            for order in range(ORDERS):
                name = f"{raw_split}-{row['identifier']}-{order}"
                picture = self._picture_of(f"{raw_split}/images/{row['directory']}/{name}.png")
                if picture is not None:
                    metadata = {"group": f"{raw_split}-{_number(row)}"}
                    yield Record(name, _boxes(picture, encoded), row["sentence"], row["label"], metadata=metadata)

    @functools.cached_property
    def _splits(self) -> dict[str, tuple[str, list[Row]]]:
        """Name of the official split, and its rows, by our split."""
        raw = self._raw_splits()
        test_sentences = {_sentence(row) for row in raw["test"]}
        dev = [row for row in raw["dev"] if _sentence(row) not in test_sentences]
        held_out = [row for row in dev if is_held_out(_number(row), CALIBRATION_PERIOD)]
        if "train" in raw:
            train = [row for row in raw["train"] if _sentence(row) not in test_sentences]
        else:
            train = [row for row in dev if not is_held_out(_number(row), CALIBRATION_PERIOD)]
        seen = {key for row in train for key in (_sentence(row), _picture(row))}
        calibration = [row for row in held_out if not seen & {_sentence(row), _picture(row)}]
        return {
            "train": ("train" if "train" in raw else "dev", train),
            "calibration": ("dev", calibration),
            "test": ("test", raw["test"]),
        }

    def _raw_splits(self) -> dict[str, list[Row]]:
        """Reads the rows of the official splits in the source: dev, test and, if it is there, train."""
        if not self.source:
            raise DataError(
                "NLVR needs data.source, its folder nlvr/nlvr; run: git clone https://github.com/lil-lab/nlvr"
            )
        raw = {}
        for split in SPLITS:
            file = f"{split}/{split}.json"
            content = self.read(file)
            if content is not None:
                raw[split] = good_rows(self._faults, file, read_lines(content), _problem, "identifier")
            elif split != "train":
                raise DataError(f"NLVR source {quoted(self.source)} lacks {file}; fetch it")
        return raw

    def _picture_of(self, file: str) -> Image.Image | None:
        """Reads the picture of an example; None for a faulty one, which is noted."""
        content = self.read(file)
        if content is None:
            self._faults.add("images that are missing", file)
            return None
        try:
            picture = decode(content, file)
        except DataError:
            self._faults.add("images that cannot be read", file)
            return None
        if picture.size != PICTURE_SIZE:
            self._faults.add(f"images that are not {' x '.join(map(str, PICTURE_SIZE))} pixels", file)
            return None
        return picture


def _sentence(row: Row) -> str:
    """The sentence without differences of case, spaces and the full stop."""
    return " ".join(row["sentence"].lower().split()).rstrip(" .")


def _picture(row: Row) -> str:
    """Content of the boxes as text, independent of the order of boxes and shapes."""
    boxes = [sorted(json.dumps(shape, sort_keys=True) for shape in box) for box in row["structured_rep"]]
    return json.dumps(sorted(boxes))


def _number(row: Row) -> str:
    """The number of the sentence, which is about up to four pictures."""
    return str(row["identifier"]).split("-")[0]


def _problem(row: Any) -> str:
    """Describes what is wrong with a row; "" if nothing is."""
    if not isinstance(row, dict):
        return "it is no JSON object"
    lacking = sorted(KEYS - row.keys())
    if lacking:
        return f"it lacks {', '.join(lacking)}"
    if not is_text(row["sentence"]):
        return "its sentence is no text"
    if row["label"] not in ANSWERS:
        return f"its label is {quoted(row['label'])}, not {' or '.join(ANSWERS)}"
    for key in ("identifier", "directory"):
        if not isinstance(row[key], str) or not PLAIN.fullmatch(row[key]):
            return f"its {key} is {quoted(row[key])}"
    boxes = row["structured_rep"]
    if not isinstance(boxes, list) or len(boxes) != BOXES or not all(isinstance(box, list) for box in boxes):
        return f"its structured_rep is no list of {BOXES} lists"
    return ""


def _boxes(picture: Image.Image, encoded: dict[bytes, bytes]) -> list[bytes]:
    """Crops the three boxes as PNG files; `encoded` caches them, since the orders of a row share their boxes."""
    boxes = []
    for start in BOX_STARTS:
        box = picture.crop((start, 0, start + BOX_SIZE, BOX_SIZE))
        pixels = box.tobytes()
        if pixels not in encoded:
            encoded[pixels] = encode_png(box)
        boxes.append(encoded[pixels])
    return boxes
