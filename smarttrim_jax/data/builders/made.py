"""A dozen made examples in the layout of each official data set, to run its builder without the data itself.

Each picture has one colour, and the texts are about that. `made_vqav2` takes the options of `vqav2` and gives its
splits, and so on: only the files are others.
"""

import abc
import itertools
import json
import pathlib
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from typing import Any

from PIL import Image

from smarttrim_jax.data.builders.base import DatasetBuilder
from smarttrim_jax.data.builders.coco import COCO
from smarttrim_jax.data.builders.flickr30k import Flickr30k
from smarttrim_jax.data.builders.held_out import is_held_out
from smarttrim_jax.data.builders.nlvr2 import NLVR2
from smarttrim_jax.data.builders.official import CALIBRATION_PERIOD
from smarttrim_jax.data.builders.snli_ve import SNLIVE
from smarttrim_jax.data.builders.vqav2 import VISUAL_GENOME, YEARS, VQAv2
from smarttrim_jax.data.images import encode_png

COLORS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (40, 80, 220), "white": (250, 250, 250)}
DOZEN, FEW = 12, 4
"""Number of images that are trained on, and that are tested; at least one of the dozen is for calibration."""
SIDE = 48
"""Width of the pictures in pixels; they are a third less high."""


class MadeFiles(DatasetBuilder):
    """Base of data sets whose files are made in a temporary folder, which is deleted with the builder.

    Args:
        source: Ignored; the folder takes its place.
        workspace: See `DatasetBuilder`.
        options: Those of the official data set.
    """

    def __init__(self, source: str = "", workspace: str | None = None, options: str = "") -> None:
        folder = tempfile.mkdtemp(prefix="smarttrim-made-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.make(pathlib.Path(folder))
        super().__init__(folder, workspace, options)

    @property
    def source_name(self) -> str:
        """Names no source: the folder is another one for each builder, and its files are always the same."""
        return ""

    @abc.abstractmethod
    def make(self, folder: pathlib.Path) -> None:
        """Writes the official files.

        Args:
            folder: Root of the data set, which is empty.
        """


class MadeVQAv2(MadeFiles, VQAv2):
    """`made_vqav2`: is a picture red or blue?"""

    def make(self, folder: pathlib.Path) -> None:
        """Writes questions, annotations and pictures; see `MadeFiles.make`."""
        numbers = {"train": _dozen(), "val": _dozen(start=1000), "test-dev": range(FEW), "test": range(FEW)}
        for split, chosen in numbers.items():
            year = YEARS[split]
            keys = [{"question_id": 10 * number, "image_id": number} for number in chosen]
            questions = [key | {"question": "Is the picture red or blue?"} for key in keys]
            _write(folder / f"v2_OpenEnded_mscoco_{year}_questions.json", {"questions": questions})
            if split in ("train", "val"):  # The answers of the others are secret.
                annotations = [key | _annotation(index) for index, key in enumerate(keys)]
                _write(folder / f"v2_mscoco_{year}_annotations.json", {"annotations": annotations})
            images = year.replace("-dev", "")
            for index, number in enumerate(chosen):
                _draw(folder / images / f"COCO_{images}_{number:012}.jpg", index)
        row = {"image": "image/1.jpg", "question": "Is this picture red or blue?", "answer": "yes"}
        _write(folder / VISUAL_GENOME, [row])
        _draw(folder / row["image"], 0)


class MadeNLVR2(MadeFiles, NLVR2):
    """`made_nlvr2`: is the left picture red?"""

    def make(self, folder: pathlib.Path) -> None:
        """Writes sentences and pictures; see `MadeFiles.make`."""
        for split, count in {"train": DOZEN, "dev": FEW, "test1": FEW, "test2": FEW}.items():
            rows = []
            for index in range(count):
                place = folder / "images" / "train" / "0" if split == "train" else folder / split
                for side in (0, 1):
                    _draw(place / f"{split}-{index}-0-img{side}.png", index + side)
                label = str(_color(index) == "red")
                row = {"identifier": f"{split}-{index}-0-0", "sentence": "The left picture is red.", "label": label}
                rows.append(row | {"directory": 0})
            _write_lines(folder / "nlvr2" / "data" / f"{split}.json", rows)


class MadeSNLIVE(MadeFiles, SNLIVE):
    """`made_snli_ve`: what follows from a picture about its colour?"""

    def make(self, folder: pathlib.Path) -> None:
        """Writes hypotheses and pictures; see `MadeFiles.make`."""
        hypotheses = {"entailment": "It is {}.", "contradiction": "It is black.", "neutral": "It is old."}
        for split, count in {"train": DOZEN, "dev": FEW, "test": FEW}.items():
            rows = []
            for index, (label, hypothesis) in zip(range(count), itertools.cycle(hypotheses.items()), strict=False):
                _draw(folder / "flickr30k-images" / f"{index}.jpg", index)
                row = {"pairID": f"{index}.jpg#0r1n", "Flickr30K_ID": str(index), "gold_label": label}
                rows.append(row | {"sentence2": hypothesis.format(_color(index))})
            _write_lines(folder / f"snli_ve_{split}.jsonl", rows)


class MadeFlickr30k(MadeFiles, Flickr30k):
    """`made_flickr30k`: pictures with two captions each."""

    def make(self, folder: pathlib.Path) -> None:
        """Writes captions and pictures; see `MadeFiles.make`."""
        rows = []
        for index, (number, split) in enumerate(_karpathy(".jpg")):
            rows.append(_captioned(index, split) | {"filename": f"{number}.jpg"})
            _draw(folder / "flickr30k-images" / f"{number}.jpg", index)
        _write(folder / self.splits_file, {"images": rows})


class MadeCOCO(MadeFiles, COCO):
    """`made_coco`: pictures with two captions each."""

    def make(self, folder: pathlib.Path) -> None:
        """Writes captions and pictures; see `MadeFiles.make`."""
        rows = []
        for index, (number, split) in enumerate(_karpathy()):
            year = "train2014" if split == "train" else "val2014"
            name = f"COCO_{year}_{number:012}.jpg"
            rows.append(_captioned(index, split) | {"filename": name, "filepath": year, "cocoid": number})
            _draw(folder / year / name, index)
        _write(folder / self.splits_file, {"images": rows})


def _dozen(suffix: str = "", start: int = 1) -> list[int]:
    """Numbers of images, of which the last alone is held out where official data has no split for calibration."""
    held_out = (number for number in itertools.count(start) if is_held_out(f"{number}{suffix}", CALIBRATION_PERIOD))
    others = (number for number in itertools.count(start) if not is_held_out(f"{number}{suffix}", CALIBRATION_PERIOD))
    return [*itertools.islice(others, DOZEN - 1), next(held_out)]


def _karpathy(suffix: str = "") -> list[tuple[int, str]]:
    """Numbers of images, and their splits."""
    train = _dozen(suffix)
    others = [(max(train) + 1 + index, split) for index, split in enumerate(["val"] * FEW + ["test"] * FEW)]
    return [*((number, "train") for number in train), *others]


def _captioned(index: int, split: str) -> dict[str, Any]:
    captions = (f"A {_color(index)} picture.", f"This is {_color(index)}.")
    return {"split": split, "sentences": [{"raw": caption} for caption in captions]}


def _annotation(index: int) -> dict[str, Any]:
    """What is known of the question about a picture: eight people agree, and two do not."""
    right, wrong = ("yes", "no") if index % 2 == 0 else ("no", "yes")
    people = [{"answer": answer} for answer in [right] * 8 + [wrong] * 2]
    return {
        "question_type": "is the",
        "answer_type": "yes/no",
        "multiple_choice_answer": right,
        "answers": people,
    }


def _color(index: int) -> str:
    return list(COLORS)[index % len(COLORS)]


def _draw(path: pathlib.Path, index: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(Image.new("RGB", (SIDE, SIDE * 2 // 3), COLORS[_color(index)])))


def _write(path: pathlib.Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_lines(path: pathlib.Path, rows: Iterable[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
