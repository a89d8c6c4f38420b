"""Photographs with captions, in the splits of Karpathy and Li (2015): Flickr30k and COCO."""

import abc
import dataclasses
import functools
import posixpath
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, NamedTuple

from smarttrim_jax.configuration import Settings
from smarttrim_jax.data.builders.held_out import is_held_out
from smarttrim_jax.data.builders.official import CALIBRATION_PERIOD, OfficialFiles
from smarttrim_jax.data.builders.rows import good_rows, is_file_name, read_list
from smarttrim_jax.data.schema import Record, is_text
from smarttrim_jax.errors import quoted

SPLITS = ("train", "restval", "val", "test")
FOLDER = "karpathy"
"""Folder in which METER's and ViLT's layouts have the file of the splits."""


@dataclasses.dataclass(frozen=True)
class CaptionOptions(Settings):
    """What may be chosen of photographs with captions.

    Attributes:
        train: What is trained on: "train"; or "train+val", less calibration.
    """

    train: Literal["train", "train+val"] = "train"


class Photograph(NamedTuple):
    """A photograph with its captions.

    Attributes:
        name: Name in records.
        number: Number in result files.
        path: Path of its file.
        captions: Its captions, in order.
    """

    name: str
    number: int
    path: str
    captions: tuple[str, ...]


class KarpathySplits(OfficialFiles):
    """Base of photographs with captions.

    Attributes:
        splits_file: Name of the file of the splits.
        key: Field of the file by which photographs are told apart.
    """

    splits_file: ClassVar[str]
    key: ClassVar[str] = "filename"
    Options = CaptionOptions

    @abc.abstractmethod
    def photograph(self, row: dict[str, Any], captions: tuple[str, ...]) -> Photograph:
        """Tells where a photograph is, and what it is called.

        Args:
            row: A row of the file without faults.
            captions: Its captions.

        Returns:
            The photograph.
        """

    @abc.abstractmethod
    def key_problem(self, row: dict[str, Any]) -> str:
        """Describes what is wrong with the name of a photograph.

        Args:
            row: A row of the file.

        Returns:
            What is wrong, as "its filename is 7"; "" if nothing is.
        """

    def records(self, split: str) -> Iterator[Record]:
        """Yields the records of a split; see the class.

        Args:
            split: Name of the split: train, calibration or test.

        Yields:
            Records with one image and all of its captions, whose metadata holds the `image_id`.
        """
        for photograph in self._of_split(split):
            metadata = {"image_id": photograph.number}
            yield Record(
                photograph.name, [self.image(photograph.path)], references=photograph.captions, metadata=metadata
            )

    def _of_split(self, split: str) -> Iterator[Photograph]:
        parts = self._photographs
        if split == "test":
            yield from parts["test"]
        elif self.options.train == "train":
            yield from [*parts["train"], *parts["restval"]] if split == "train" else parts["val"]
        else:
            for photograph in (*parts["train"], *parts["restval"], *parts["val"]):
                if is_held_out(photograph.name, CALIBRATION_PERIOD) == (split == "calibration"):
                    yield photograph

    @functools.cached_property
    def _photographs(self) -> dict[str, list[Photograph]]:
        """The photographs of every official split."""
        file = self.splits_file
        listed = read_list(self.file(file, posixpath.join(FOLDER, file)), file, "images")
        splits: dict[str, list[Photograph]] = {split: [] for split in SPLITS}
        blank = 0
        for row in good_rows(self._faults, file, listed, self._problem, self.key):
            raw = [sentence["raw"] for sentence in row["sentences"]]
            captions = tuple(filter(is_text, raw))
            blank += len(raw) - len(captions)
            splits[row["split"]].append(self.photograph(row, captions))
        if blank:
            print(f"{self.title}: {blank:,} captions of '{file}' are blank; left out", flush=True)
        return splits

    def _problem(self, row: Any) -> str:
        """Describes what is wrong with a row; "" if nothing is."""
        if not isinstance(row, dict):
            return "it is no object"
        if not is_file_name(row.get("filename")):
            return f"its filename is {quoted(row.get('filename'))}"
        if row.get("split") not in SPLITS:
            return f"its split is {quoted(row.get('split'))}, not {', '.join(SPLITS)}"
        sentences = row.get("sentences")
        if not isinstance(sentences, list) or not all(map(_has_text, sentences)):
            return "its sentences are no list of objects with a text 'raw'"
        if not any(is_text(sentence["raw"]) for sentence in sentences):
            return "it has no caption"
        return self.key_problem(row)


def _has_text(sentence: Any) -> bool:
    return isinstance(sentence, dict) and isinstance(sentence.get("raw"), str)
