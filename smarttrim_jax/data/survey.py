"""Checks a whole data set before its records are written: collects all faults, and what the records need."""

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from smarttrim_jax.data.builders.base import DatasetBuilder, faults_of_code, records_of
from smarttrim_jax.data.image_checks import CheckedImages
from smarttrim_jax.data.image_writer import ImageWriter
from smarttrim_jax.data.schema import SPLITS, Image, Kind, Record, is_answer, is_image, problems
from smarttrim_jax.errors import DataError, quoted
from smarttrim_jax.progress import ProgressLine


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


def survey(builder: DatasetBuilder, name: str, images: ImageWriter) -> Survey:
    """Reads all records of a data set; decodes every image once, and writes those that can be read.

    Args:
        builder: Builder of the data set.
        name: Name of the data set in error messages.
        images: Writer of the images. Those that it has written at an earlier start are not read again.

    Returns:
        What was found.

    Raises:
        DataError: There are faults, all of which the message counts, or a split has no example.
    """
    with faults_of_code(name):
        surveyor = _Surveyor(builder)
    # Files are read last, when their number is known, so that the time left can be told.
    files: dict[Image, str] = {}
    with CheckedImages(images, surveyor.faults) as checked:
        with ProgressLine(f"checking {name}") as progress:
            for split in SPLITS:
                for record in progress.over(records_of(builder, name, split)):
                    place = surveyor.look_at(split, record)
                    for image in _images(record):
                        if isinstance(image, bytes):
                            checked.add(image, place)
                        else:
                            files.setdefault(image, place)
        with ProgressLine(f"copying {name}", total=len(files), unit="images") as progress:
            for file in progress.over(files):
                checked.add(file, files[file])
    images.complete()
    surveyor.faults.refuse(name, builder.source, images.folder)
    for split in SPLITS:
        if not surveyor.sizes[split]:
            raise DataError(
                f"the source of {name} leaves no example for the split '{split}'; give all of it, or more examples"
            )
    return surveyor.result()


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
        self._check_given()

    def look_at(self, split: str, record: Any) -> str:
        """Checks a record of a split, except for its images.

        Args:
            split: Name of the split.
            record: What the builder gave.

        Returns:
            Where the record is, for faults of its images.
        """
        self.sizes[split] += 1
        place = f"{split} {quoted(getattr(record, 'id', f'record {self.sizes[split]}'))}"
        found = list(problems(record)) or list(self._misfits(split, record))
        for problem in found:
            self.faults.add(problem, place)
        return place

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
        if not answers and split != "test":
            yield f"records of {split} without any answer"
        elif split == "train" and not self._learnt & answers.keys():
            yield "records of train with none of the data set's answers"
        elif split != "train" and answers and max(answers, key=answers.__getitem__) not in self._learnt:
            self._unknown[split] += 1


def _images(record: Any) -> list[Image]:
    """Images of a record, or of a faulty one as far as they can be checked."""
    images = getattr(record, "images", ())
    return [image for image in images if is_image(image)] if isinstance(images, Sequence) else []
