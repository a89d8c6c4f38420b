"""easy-VQA (Victor Zhou, MIT licence): questions about one coloured shape in a 64x64 image."""

import functools
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from smarttrim_jax.data.builders.base import DatasetBuilder
from smarttrim_jax.data.builders.raw_files import Reader, open_source
from smarttrim_jax.data.builders.rows import good_rows, is_count, read_list
from smarttrim_jax.data.schema import Record, is_text
from smarttrim_jax.errors import DataError, quoted, reason

CALIBRATION_PERIOD = 10
ANSWERS = "answers.txt"
PACKAGE = "easy_vqa"

Question = tuple[str, str, int]


class EasyVQA(DatasetBuilder):
    """easy-VQA: 5,000 images, 48,248 questions, 13 answers.

    The files come with `pip install easy-vqa` (MIT licence, 3.2 MB, nothing is downloaded); a folder or .tar.gz of
    the same layout (`answers.txt`, `train/`, `test/`) may stand in as `source`. A sanity task, not a benchmark.

    | split | images | questions | which |
    |---|---|---|---|
    | train | 3,600 | 34,676 | the package's train, less calibration |
    | calibration | 400 | 3,899 | every question of the train images whose number 10 divides |
    | test | 1,000 | 9,673 | the package's test |

    Preparation takes about 15 seconds and 30 MB.
    """

    roots = (ANSWERS, "train", "test")

    @functools.cached_property
    def read(self) -> Reader:
        """Function that reads a raw file of the source, or of the installed package where no source is given."""
        return open_source(self.source or _installed(), self.roots, self._workspace)

    def records(self, split: str) -> Iterator[Record]:
        """Yields the records of a split; calibration takes every tenth training image. Each record holds PNG bytes.

        Args:
            split: Name of the split: train, calibration or test.

        Yields:
            Records with an answer.
        """
        raw_split = "test" if split == "test" else "train"
        # Questions about the same image are neighbours, so a cache of one image suffices.
        image_file = functools.lru_cache(maxsize=1)(self.read)
        for number, (text, answer, image) in enumerate(self.examples(raw_split)):
            if raw_split == "train" and (image % CALIBRATION_PERIOD == 0) != (split == "calibration"):
                continue
            path = f"{raw_split}/images/{image}.png"
            # The survey reports a path that leads nowhere.
            yield Record(f"{raw_split}-{image}-{number}", [image_file(path) or path], text, answer)

    def examples(self, raw_split: str) -> Sequence[Question]:
        """Reads text, answer and image number of every example of a raw split.

        Args:
            raw_split: Name of the package's split: train or test.

        Returns:
            Text, answer and image number of each example.

        Raises:
            DataError: The questions are missing or damaged.
        """
        return self._examples_of(self._questions(raw_split))

    def answers(self) -> list[str]:
        """Names the classes."""
        return self._listed_answers()

    def _listed_answers(self) -> list[str]:
        """Reads the answers that the file of answers lists.

        Raises:
            DataError: The file is missing, damaged or empty, or repeats an answer.
        """
        try:
            lines = self._file(ANSWERS).decode("utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            raise DataError(f"easy-VQA's {ANSWERS} is damaged: {reason(error)}; fetch it again") from error
        numbered = {number: line.strip() for number, line in enumerate(lines, 1) if line.strip()}
        known: set[str] = set()
        for number, answer in numbered.items():
            if answer in known:
                raise DataError(f"line {number} of easy-VQA's {ANSWERS} repeats {quoted(answer)}; remove it")
            known.add(answer)
        if not known:
            raise DataError(f"easy-VQA's {ANSWERS} in {quoted(self.source or PACKAGE)} is empty; fetch it again")
        return list(numbered.values())

    @functools.cached_property
    def _questions(self) -> Callable[[str], list[Question]]:
        """Function that reads the questions of a raw split, once."""
        return functools.cache(self._read_questions)

    def _read_questions(self, split: str) -> list[Question]:
        file = f"{split}/questions.json"
        return good_rows(self._faults, file, read_list(self._file(file), file), self._problem)

    def _problem(self, row: Any) -> str:
        """Describes what is wrong with a row of questions; "" if nothing is."""
        if not isinstance(row, list) or len(row) != 3:
            return "it is no list of three: question, answer, number of an image"
        question, answer, image = row
        if not is_text(question):
            return "its question is no text"
        if not isinstance(answer, str) or answer not in self._known_answers:
            return f"{ANSWERS} lacks its answer {quoted(answer)}"
        if not is_count(image):
            return f"its image is {quoted(image)}, no whole number from 0 on"
        return ""

    @functools.cached_property
    def _known_answers(self) -> frozenset[str]:
        return frozenset(self._listed_answers())

    def _file(self, name: str) -> bytes:
        content = self.read(name)
        if content is None:
            raise DataError(f"easy-VQA in {quoted(self.source or PACKAGE)} lacks '{name}'; fetch it whole")
        return content

    def _examples_of(self, questions: list[Question]) -> Sequence[Question]:
        """Converts questions to examples; one to one here."""
        return questions


def _installed() -> str:
    """Finds the folder of the raw files in the installed package, without importing it."""
    package = importlib.util.find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise DataError("the easy-VQA data is not installed; run: pip install easy-vqa")
    return f"{package.submodule_search_locations[0]}/data"
