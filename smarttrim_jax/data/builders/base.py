"""What every question-and-answer data set shares: one record format, raw files from a source."""

import abc
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tensorflow_datasets as tfds

from smarttrim_jax.data.builders.raw_files import Reader, open_source
from smarttrim_jax.errors import DataError
from smarttrim_jax.progress import ProgressLine

Record = dict[str, Any]
Examples = Iterator[tuple[str, Record]]


class Encoded(tfds.decode.SkipDecoding):
    """Reads a sequence of images as their encoded bytes; TFDS can skip decoding of single images only."""

    def decode_batch_example_np(self, example: Any) -> Any:
        return example


ENCODED_IMAGES = {"images": Encoded()}
"""The decoders of a record whose images are to stay files."""


def record_features(answers: Sequence[str]) -> tfds.features.FeaturesDict:
    """What a record holds: `id`, `images` (one or several, encoded), `text`, `answer` (a number).

    Args:
        answers: Names of the classes, in the order of their numbers.
    """
    return tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "images": tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3))),
            "text": tfds.features.Text(),
            "answer": tfds.features.ClassLabel(names=list(answers)),
        }
    )


@dataclasses.dataclass(frozen=True)
class Split:
    """The examples of a split.

    Attributes:
        count: How many they are.
        examples: Pairs of a name and a record, made as they are asked for.
    """

    count: int
    examples: Iterable[tuple[str, Record]]


class AnswerBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Base of the builders whose examples are images, a sentence and one answer; nothing is downloaded.

    Subclasses give `splits` of records with `id`, `images` (one or several, encoded), `text` and `answer`.
    """

    # Found by TFDS through importlib_resources, a package it no longer depends on; needed for checksums only.
    code_path = None
    roots: tuple[str, ...]
    """Files and folders at the root of the raw data."""

    def __init__(self, *, source: str = "", **kwargs: Any) -> None:
        """Makes the builder.

        Args:
            source: Where the raw files are; what it may be is up to the data set.
            **kwargs: Those of `tfds.core.GeneratorBasedBuilder`: `data_dir`, `file_format`.
        """
        self.source = source
        self._workspace = kwargs.get("data_dir")
        self._progress = ProgressLine(f"preparing {self.name}")
        super().__init__(**kwargs)

    @functools.cached_property
    def read(self) -> Reader:
        """Reads a raw file by its path below the root."""
        return open_source(self.source, self.roots, self._workspace)

    @abc.abstractmethod
    def splits(self) -> dict[str, Split]:
        """The splits by name: train, calibration and test."""

    def describe(self, answers: Sequence[str], homepage: str, license: str) -> tfds.core.DatasetInfo:
        """The data set's info; `answers` are the names of the classes in the order of their numbers."""
        features = record_features(answers)
        return tfds.core.DatasetInfo(builder=self, features=features, homepage=homepage, license=license)

    def prepare(self) -> None:
        """Reads the raw files and writes the records, telling how far it is."""
        with self._progress:
            self.download_and_prepare()

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Examples]:
        splits = self.splits()
        for name, split in splits.items():
            if not split.count:
                raise DataError(f"the source of {self.name} leaves no example for the split '{name}'; give all of it")
        self._progress.total = sum(split.count for split in splits.values())
        return {name: self._generate_examples(name, iter(split.examples)) for name, split in splits.items()}

    def _generate_examples(self, split: str, examples: Examples) -> Examples:
        return self._progress.over(examples)
