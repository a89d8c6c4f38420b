"""Checks a whole data set before anything is written: collects all faults, and what its records need."""

import collections
import concurrent.futures
import dataclasses
import hashlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from smarttrim_jax.data.builders.base import DatasetBuilder, faults_of_code, records_of
from smarttrim_jax.data.images import MOST_BYTES, decode
from smarttrim_jax.data.schema import SPLITS, Image, Kind, Record, is_answer, is_image, problems
from smarttrim_jax.errors import DataError, quoted
from smarttrim_jax.progress import ProgressLine
from smarttrim_jax.small_files import read_whole

RECORDS_AT_ONCE = 64
THREADS = 4
"""Number of threads that decode images."""


@dataclasses.dataclass(frozen=True)
class Survey:
    """What is known of a data set without faults.

    Attributes:
        kind: What each record has: an answer, weighted answers or references.
        answer_names: Names of the answers in the order of their numbers; empty where records have references.
        most_answers: Largest number of weighted answers of a record.
        split_sizes: Number of records by split.
        unknown: Number of records by split whose (heaviest) answer has no number; splits without such records are
            left out.
    """

    kind: Kind
    answer_names: tuple[str, ...]
    most_answers: int
    split_sizes: Mapping[str, int]
    unknown: Mapping[str, int]


def survey(builder: DatasetBuilder, name: str) -> Survey:
    """Reads all records of a data set, and decodes every image once.

    Args:
        builder: Builder of the data set.
        name: Name of the data set in error messages.

    Returns:
        What was found.

    Raises:
        DataError: There are faults, all of which the message counts, or a split has no example.
    """
    with faults_of_code(name):
        surveyor = _Surveyor(builder)
    with ProgressLine(f"checking {name}") as progress, concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
        for split in SPLITS:
            records = iter(progress.over(records_of(builder, name, split)))
            while some := list(itertools.islice(records, RECORDS_AT_ONCE)):
                surveyor.look_at(split, some, threads)
    surveyor.faults.refuse(name, builder.source)
    for split in SPLITS:
        if not surveyor.sizes[split]:
            raise DataError(f"the source of {name} leaves no example for the split '{split}'; give all of it")
    return surveyor.result()


def image_bytes(image: Image) -> bytes:
    """Reads the contents of an image file, which a record names or holds.

    Args:
        image: Path of the file, or its contents.

    Returns:
        Contents of the file.

    Raises:
        OSError: The file cannot be read.
    """
    return image if isinstance(image, bytes) else read_whole(image, MOST_BYTES)


class _Surveyor:
    """What has been seen of a data set's records; train must come first, since its answers are the known ones."""

    def __init__(self, builder: DatasetBuilder) -> None:
        self.faults = builder.faults()
        self.sizes: collections.Counter[str] = collections.Counter()
        self._given = builder.answers()
        self._learnt: set[str] = set(self._given or ())
        self._unknown: collections.Counter[str] = collections.Counter()
        self._most_answers = 0
        self._first: Record | None = None
        self._ids: set[tuple[str, str]] = set()
        self._sound_images: set[bytes] = set()
        self._check_given()

    def look_at(self, split: str, records: Sequence[Record], threads: concurrent.futures.Executor) -> None:
        """Checks some records of a split; their images are decoded in several threads.

        Args:
            split: Name of the split.
            records: Consecutive records of the split.
            threads: Executor that decodes images.
        """
        # Records of one image are mostly neighbours, so each image is checked once per call.
        images = dict.fromkeys(image for record in records for image in _images(record))
        wrong = dict(zip(images, threads.map(self._image_fault, images), strict=True))
        for record in records:
            self.sizes[split] += 1
            faults = [(wrong[image], _path(image)) for image in _images(record) if wrong[image]]
            faults += [(problem, "") for problem in problems(record)]
            if not faults:
                faults += [(problem, "") for problem in self._misfits(split, record)]
            for kind, place in faults:
                said = getattr(record, "id", f"record {self.sizes[split]}")
                self.faults.add(kind, f"{split} {quoted(said)}{place}")

    def result(self) -> Survey:
        """Summarises what was found; call it only if there are no faults and there is at least one record."""
        assert self._first is not None
        names = tuple(sorted(self._learnt) if self._given is None else self._given)
        return Survey(self._first.kind, names, self._most_answers, dict(self.sizes), dict(self._unknown))

    def _check_given(self) -> None:
        counts = collections.Counter(self._given or ())
        for name, count in counts.items():
            if not is_answer(name):
                self.faults.add("names of answers that are not text of one line", quoted(name))
            if count > 1:
                self.faults.add("names of answers that are there twice", quoted(name))

    def _misfits(self, split: str, record: Record) -> Iterator[str]:
        """Yields what is wrong with a sound record in comparison with the others."""
        self._first = first = self._first or record
        if record.kind != first.kind:
            yield f"records without {first.kind}, which the first record has"
        if len(record.images) != len(first.images):
            yield "records with another number of images than the first"
        if (split, record.id) in self._ids:
            yield "ids that are there twice"
        self._ids.add((split, record.id))
        if record.references is not None:
            return
        answers = {str(record.answer): 1.0} if record.answers is None else record.answers
        self._most_answers = max(self._most_answers, len(answers))
        if split == "train" and self._given is None:
            self._learnt |= answers.keys()
        heaviest = max(answers, key=lambda name: answers[name])
        if split == "train" and not self._learnt & answers.keys():
            yield "records of train with none of the data set's answers"
        elif split != "train" and heaviest not in self._learnt:
            self._unknown[split] += 1

    def _image_fault(self, image: Image) -> str:
        """Describes what is wrong with an image; "" if nothing is."""
        try:
            content = image_bytes(image)
            digest = hashlib.sha256(content).digest()
            if digest not in self._sound_images:
                decode(content, "")
                self._sound_images.add(digest)
        except FileNotFoundError:
            return "images that are missing"
        except (OSError, ValueError):  # ValueError: a path with a zero byte. A DataError is a ValueError too.
            return "images that cannot be read"
        return ""


def _images(record: Any) -> list[Image]:
    """Images of a record, or of a faulty one as far as they can be checked."""
    images = getattr(record, "images", ())
    return [image for image in images if is_image(image)] if isinstance(images, Sequence) else []


def _path(image: Image) -> str:
    return "" if isinstance(image, bytes) else f" {quoted(os.fspath(image))}"
