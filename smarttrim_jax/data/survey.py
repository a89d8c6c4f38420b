"""A data set looked through before anything of it is written: its faults all at once, and what its records need."""

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
from smarttrim_jax.data.schema import SPLITS, Image, Kind, Record, is_answer, problems
from smarttrim_jax.errors import DataError, quoted
from smarttrim_jax.progress import ProgressLine
from smarttrim_jax.small_files import read_whole

RECORDS_AT_ONCE = 64
THREADS = 4
"""That decode images."""


@dataclasses.dataclass(frozen=True)
class Survey:
    """What is known of a data set without faults.

    Attributes:
        kind: Of its records.
        answer_names: Names of the answers in the order of their numbers; none where records have references.
        most_answers: The largest number of weighted answers of a record.
        split_sizes: Records by split.
        unknown: By split, records whose (heaviest) answer has no number; splits without such are left out.
    """

    kind: Kind
    answer_names: tuple[str, ...]
    most_answers: int
    split_sizes: Mapping[str, int]
    unknown: Mapping[str, int]


def survey(builder: DatasetBuilder, name: str) -> Survey:
    """Goes through all records of a data set, and decodes every image once.

    Args:
        builder: Of the data set.
        name: What errors call it.

    Raises:
        DataError: It has faults, all of which the sentence counts, or no example for a split.
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
    """The contents of an image's file, which a record names or holds.

    Raises:
        OSError: It cannot be read.
    """
    return image if isinstance(image, bytes) else read_whole(image, MOST_BYTES)


class _Surveyor:
    """What was seen of a data set's records so far; train must come first, whose answers are the known ones."""

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
        """Checks some records of a split, their images in several threads."""
        # Records of one image mostly follow each other: a thread is asked once.
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
        """What was found."""
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
        """What is wrong with a record that would be sound alone."""
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
        """What is wrong with an image; "" if nothing is."""
        try:
            content = image_bytes(image)
            digest = hashlib.sha256(content).digest()
            if digest not in self._sound_images:
                decode(content, "")
                self._sound_images.add(digest)
        except FileNotFoundError:
            return "images that are missing"
        except (OSError, ValueError):  # ValueError: a path with a zero byte; a DataError is one too
            return "images that cannot be read"
        return ""


def _images(record: Any) -> list[Image]:
    """The images of a record, and of a value that is none as far as they can be looked at."""
    images = getattr(record, "images", ())
    return [image for image in images if isinstance(image, Image)] if isinstance(images, Sequence) else []


def _path(image: Image) -> str:
    return "" if isinstance(image, bytes) else f" {quoted(os.fspath(image))}"
