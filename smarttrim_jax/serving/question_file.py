"""Many questions as lines of JSON, and their answers beside them, taken up again where they were left."""

import contextlib
import fcntl
import json
import os
import pathlib
import stat
import sys
from collections.abc import Iterator
from typing import IO, Any, NamedTuple

from smarttrim_jax.errors import DataError
from smarttrim_jax.json_text import parse_json
from smarttrim_jax.serving.predictor import Failure
from smarttrim_jax.serving.questions import Question

Record = dict[str, Any]

LONGEST_LINE = 1 << 24
"""Bytes of a line; a longer one is no question, and would be held in memory."""
IMAGE_KEYS = ("image", "images")
TEXT_KEYS = ("text", "question")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Asked(NamedTuple):
    """One line of a file of questions.

    Attributes:
        record: Its keys, which go through to its answer; of a line that could not be read its number.
        question: What is asked, or why that cannot be told.
    """

    record: Record
    question: Question | Failure


def ask(images: list[str], text: str) -> Asked:
    """A question that was given on the command line."""
    return Asked({"image": images[0] if len(images) == 1 else images, "text": text}, Question(tuple(images), text))


def read_questions(path: str) -> Iterator[Asked]:
    """Reads questions one after the other; a bad line costs only itself, empty ones are left out.

    A line is `{"image": FILE or [FILE, ...], "text": ...}`; `images` and `question` are taken for these too.

    Args:
        path: A JSONL file in UTF-8, or "-" for standard input.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb") as file:
            for number, line in enumerate(_lines(file), 1):
                line = line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line
                if line.strip():
                    yield _asked(line, number)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"cannot read '{path}': {reason}; give a JSONL file, or - for standard input") from None


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    r"""The lines of a file, which end at "\n" alone; of a line that is too long the beginning."""
    while line := file.readline(LONGEST_LINE):
        yield line
        while len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE)


def _asked(line: bytes, number: int) -> Asked:
    try:
        record = parse_json(line.decode())
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8 (byte {error.object[error.start]:#x} at {error.start}); save the file as UTF-8"
    except ValueError as error:
        reason = "is longer than a question" if len(line) == LONGEST_LINE else f"is no JSON ({error})"
    else:
        if isinstance(record, dict):
            return Asked(record, _question(record))
        reason = f"is {type(record).__name__}, not an object with an image and a text"
    return Asked({"line": number}, Failure(f"line {number} {reason}"))


def _question(record: Record) -> Question | Failure:
    images = next((record[key] for key in IMAGE_KEYS if key in record), None)
    images = [images] if isinstance(images, str) else images
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        return Failure(f"image is {images!r}; it must be a file's name, or a list of them")
    text = next((record[key] for key in TEXT_KEYS if record.get(key) is not None), "")
    return Question(tuple(images), text)


class AnswerFile:
    """A JSONL file of answers: one line for every question, in their order.

    A file that holds the first answers already is gone on with. It must be of the same model at the same speed-up,
    and of the same questions; an end that was cut off is dropped.

    Args:
        path: Of the file, or "-" for standard output.
        label: Keys that every line ends with: the model's folder and version, and its speed-up.

    Attributes:
        done: Number of the first questions that it has answers to.

    Raises:
        DataError: The file cannot be written, or another process is writing it.
    """

    def __init__(self, path: str, label: Record):
        self.path = path
        self.done = 0
        self._whole = 0  # bytes of the lines that are there already
        self._tail_is_cut = False
        self._label = label
        self._earlier: Iterator[bytes] = iter(())
        with contextlib.ExitStack() as opened:
            try:
                self._file = self._open(opened)
            except OSError as error:
                raise self._unwritable(error) from None
            self._opened = opened.pop_all()

    def __enter__(self) -> "AnswerFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._opened:
                if kind is None:
                    self._drop_cut_tail()
        except OSError:
            # What could not be written is said already; closing the file tries it once more.
            if kind is None:
                raise

    def check_next(self, record: Record) -> bool:
        """Whether the next of the answers that are there already is that of a question.

        Args:
            record: The keys of the question.

        Returns:
            Whether the question was answered, and not failed.

        Raises:
            DataError: It is another's, or no answer.
        """
        try:
            answer = parse_json(next(self._earlier).decode())
            known = answer.items()
        except (ValueError, AttributeError):
            known = {}.items()
        if not all(item in known for item in (_passed_on(record) | self._label).items()):
            raise DataError(
                f"'{self.path}' holds other answers: not to these questions, or not by this model at this speed-up; "
                "choose another --output, or remove it"
            )
        return "error" not in answer

    def write(self, record: Record, result: Record) -> None:
        """Adds a line.

        Args:
            record: The keys of the question.
            result: The keys of its answer.

        Raises:
            DataError: The disk is full, or the file is gone.
            BrokenPipeError: Whoever read the output is gone.
        """
        try:
            self._drop_cut_tail()
            self._file.write(json.dumps(_passed_on(record) | result | self._label).encode() + b"\n")
            self._file.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise self._unwritable(error) from None

    def _drop_cut_tail(self) -> None:
        """Drops half a line at the end; not before the lines above it are known to be answers of ours."""
        if self._tail_is_cut:
            self._file.truncate(self._whole)
            self._tail_is_cut = False

    def _open(self, opened: contextlib.ExitStack) -> IO[bytes]:
        if self.path == "-":
            return sys.stdout.buffer
        if os.path.exists(self.path) and not stat.S_ISREG(os.stat(self.path).st_mode):
            # A pipe or a terminal, which keeps nothing.
            return opened.enter_context(open(self.path, "wb"))
        file = opened.enter_context(open(self.path, "ab"))  # noqa: SIM115 (the stack closes it)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"another process writes '{self.path}'; wait for it, or choose another --output"
            ) from None
        with open(self.path, "rb") as earlier:
            for line in earlier:
                if line.endswith(b"\n"):
                    self._whole += len(line)
                    self.done += 1
                    continue
                self._tail_is_cut = True
                if not line.startswith(b"{"):
                    raise DataError(f"'{self.path}' is there and holds no answers; choose another --output")
        self._earlier = opened.enter_context(open(self.path, "rb"))  # noqa: SIM115
        return file

    def _unwritable(self, error: OSError) -> DataError:
        return DataError(f"cannot write '{self.path}': {error.strerror or error}; choose another --output")


RESULT_KEYS = ("answer", "confidence", "macs_saved", "seconds", "text_cut", "error", "run", "speedup")
"""What a line of answers adds to its question's keys."""


def _passed_on(record: Record) -> Record:
    """A question's keys, those that its answer has too under other names."""
    passed = {key: value for key, value in record.items() if key not in RESULT_KEYS}
    for key in RESULT_KEYS:
        if key in record:
            name = f"given_{key}"
            while name in passed:
                name = f"given_{name}"
            passed[name] = record[key]
    return passed


def same_file(first: str, second: str) -> bool:
    """Whether two names are those of one file."""
    both = pathlib.Path(first), pathlib.Path(second)
    return all(path.exists() for path in both) and both[0].samefile(both[1])
