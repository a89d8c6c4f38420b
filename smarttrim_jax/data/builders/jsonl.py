"""A user's own folder that needs no code: one line of JSON per example, and image files."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from smarttrim_jax.data.builders.base import DatasetBuilder
from smarttrim_jax.data.builders.held_out import held_out
from smarttrim_jax.data.builders.jsonl_lines import read_line
from smarttrim_jax.data.builders.raw_files import Reader, open_folder
from smarttrim_jax.data.faults import Faults
from smarttrim_jax.data.schema import SPLITS, Record, is_answer, problems
from smarttrim_jax.errors import DataError, quoted
from smarttrim_jax.json_text import parse_json
from smarttrim_jax.progress import ProgressLine
from smarttrim_jax.small_files import in_bucket

ANSWERS = "answers.json"
FILES = {split: f"{split}.jsonl" for split in SPLITS}
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
THREADS = 8
"""Number of threads that read image files, which may be on a slow disk or in a bucket."""


class _Line(NamedTuple):
    """An example of a file.

    Attributes:
        place: Name of the file and number of the line.
        record: The example; its images are paths.
    """

    place: str
    record: Record


class Jsonl(DatasetBuilder):
    """The examples of a folder, on a disk or in a bucket.

        train.jsonl         {"image": "images/7.png", "text": "is it red?", "answer": "yes", "id": "7-red"}
        test.jsonl          the same
        calibration.jsonl   the same; without it, a tenth of train is held out, with its images
        answers.json        ["yes", "no"]: the answers in the order of their numbers; by default train's, sorted

    Keys of a line, others are left alone:

    - `image` or `images`: a path, or a list of them, below the folder or absolute.
    - `text` or `question`: what is asked or said about the images; captions need none.
    - `answer`: the right answer. Or `answers`: an object of right answers and their weights, above 0 and at most 1;
      or a list of what several people answered, in which an answer weighs thrice its share, at most 1. Or `captions`:
      a text that describes the images, or a list of them.
    - `id`: a text or whole number, unique in its file; by default file and number of the line.
    """

    def records(self, split: str) -> Iterator[Record]:
        """Yields the examples of a split whose images can be read.

        Args:
            split: Name of the split: train, calibration or test.

        Yields:
            Records; images are paths on a disk, or contents from a bucket.
        """
        for line in self._splits[split]:
            yield dataclasses.replace(line.record, images=[self._image(str(path)) for path in line.record.images])

    def answers(self) -> Sequence[str] | None:
        """Names the answers in the order of `answers.json`; None if that is missing or faulty."""
        names = self._listed_answers
        return names if isinstance(names, list) and names and all(map(is_answer, names)) else None

    def contents(self) -> str:
        """Returns a digest of all lines, the list of answers and the image files."""
        digest = hashlib.sha256()
        for name, content in self._files.items():
            digest.update(repr((name, hashlib.sha256(content).hexdigest())).encode())
        for path, image in sorted(self._images.items()):
            digest.update(repr((path, image)).encode())
        return digest.hexdigest()[:32]

    def faults(self) -> Faults:
        """Returns files, lines and images that are missing or cannot be read."""
        faults = Faults()
        for split, name in FILES.items():
            if name not in self._files and split != "calibration":
                faults.add("files that are missing", name)
        if ANSWERS in self._files and self.answers() is None:
            faults.add("files that are no JSON list of answers", ANSWERS)
        for kind, place in self._line_faults:
            faults.add(kind, place)
        for line in (line for lines in self._lines.values() for line in lines):
            for path in line.record.images:
                image = self._images[str(path)]
                if isinstance(image, str):
                    faults.add(image, f"{line.place} {quoted(path)}")
        if self._lines["train"] and not (self._splits["train"] and self._splits["calibration"]):
            faults.add("calibration splits that cannot be held out of train", f"add {FILES['calibration']}")
        return faults

    @functools.cached_property
    def read(self) -> Reader:
        """Function that reads a file by its path below the folder, or by an absolute path."""
        if not self.source:
            raise DataError("jsonl needs data.source, a folder with train.jsonl and test.jsonl")
        return open_folder(self.source)

    def _image(self, path: str) -> bytes | str:
        """Image of a record: its path on a disk, or its contents in a bucket."""
        if not in_bucket(self.source) or os.path.isabs(path):
            return os.path.join(os.path.expanduser(self.source), path)
        return self.read(path) or b""

    @functools.cached_property
    def _files(self) -> dict[str, bytes]:
        """Contents of those of the folder's files that exist, by name."""
        contents = {name: self.read(name) for name in (*FILES.values(), ANSWERS)}
        return {name: content for name, content in contents.items() if content is not None}

    @functools.cached_property
    def _listed_answers(self) -> Any:
        try:
            return parse_json(self._files[ANSWERS].decode("utf-8-sig")) if ANSWERS in self._files else None
        except ValueError:
            return None

    @functools.cached_property
    def _parsed(self) -> tuple[dict[str, list[_Line]], list[tuple[str, str]]]:
        """Examples of every file by split, and the faults (kind, place) of other lines."""
        lines: dict[str, list[_Line]] = {split: [] for split in FILES}
        faults = []
        for split, name in FILES.items():
            content = self._files.get(name, b"").removeprefix(BYTE_ORDER_MARK)
            first: dict[str, int] = {}
            for number, line in enumerate(content.split(b"\n"), 1):
                if not line.strip():
                    continue
                place = f"{name} line {number}"
                record = read_line(line, f"{split}-{number}")
                found = list(problems(record)) if isinstance(record, Record) else ["lines that are no JSON object"]
                faults += [(kind, place) for kind in found]
                if not isinstance(record, Record) or found:
                    continue
                if (known := first.setdefault(record.id, number)) != number:
                    faults.append(("ids that are there twice", f"{place} {quoted(record.id)} of line {known}"))
                else:
                    lines[split].append(_Line(place, record))
        return lines, faults

    @property
    def _lines(self) -> dict[str, list[_Line]]:
        return self._parsed[0]

    @property
    def _line_faults(self) -> list[tuple[str, str]]:
        return self._parsed[1]

    @functools.cached_property
    def _images(self) -> dict[str, bytes | str]:
        """Digest of every image file by its path, or a text that says what is wrong with it."""

        def digest(path: str) -> bytes | str:
            """Computes the digest of an image file.

            Args:
                path: Path below the folder, or absolute.

            Returns:
                SHA-256, or a text that says what is wrong.
            """
            try:
                content = self.read(path)
            except DataError:
                return "images that cannot be read"
            return "images that are missing" if content is None else hashlib.sha256(content).digest()

        lines = [line for lines in self._lines.values() for line in lines]
        paths = list(dict.fromkeys(str(path) for line in lines for path in line.record.images))
        reading = ProgressLine("reading jsonl", len(paths), "images")
        with reading as progress, concurrent.futures.ThreadPoolExecutor(THREADS) as threads:
            return dict(zip(paths, progress.over(threads.map(digest, paths)), strict=True))

    @functools.cached_property
    def _splits(self) -> dict[str, list[_Line]]:
        """Examples of every split whose images can be read."""
        splits = {split: list(filter(self._is_readable, lines)) for split, lines in self._lines.items()}
        if FILES["calibration"] in self._files:
            return splits
        train = splits["train"]
        kept_out = held_out([[self._images[str(path)] for path in line.record.images] for line in train])
        return splits | {
            "train": [line for index, line in enumerate(train) if index not in kept_out],
            "calibration": [train[index] for index in sorted(kept_out)],
        }

    def _is_readable(self, line: _Line) -> bool:
        return all(isinstance(self._images[str(path)], bytes) for path in line.record.images)
