"""Questions as lines of JSON, and their answers as lines of another file, which can be continued."""

import contextlib
import fcntl
import json
import os
import pathlib
import stat
import sys
from collections.abc import Iterable, Iterator
from typing import IO, Any, NamedTuple

from smarttrim_jax.errors import DataError
from smarttrim_jax.json_text import parse_json
from smarttrim_jax.serving.predictor import Failure
from smarttrim_jax.serving.questions import Question
from smarttrim_jax.small_files import write_whole

Record = dict[str, Any]

LONGEST_LINE = 1 << 24
"""Maximum size of a line in bytes; a longer one is not a question, and would have to be held in memory."""
IMAGE_KEYS = ("image", "images")
TEXT_KEYS = ("text", "question")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Asked(NamedTuple):
    """One line of a file of questions.

    Attributes:
        record: Keys of the line, which are copied to its answer; for an unreadable line its number.
        question: The question, or the reason why there is none.
    """

    record: Record
    question: Question | Failure


def ask(images: list[str], text: str) -> Asked:
    """Makes a question of what was given on the command line.

    Args:
        images: Paths of the example's images.
        text: Question or statement.

    Returns:
        The question with its record.
    """
    return Asked({"image": images[0] if len(images) == 1 else images, "text": text}, Question(tuple(images), text))


def read_questions(path: str) -> Iterator[Asked]:
    """Reads questions one after the other; a bad line affects only itself, and empty lines are skipped.

    A line is `{"image": FILE or [FILE, ...], "text": ...}`; the keys `images` and `question` are accepted too.

    Args:
        path: JSONL file in UTF-8, or "-" for standard input.

    Yields:
        The question of each line, or the reason why it has none.

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
        remedy = "give a JSONL file, or - for standard input; a folder of images is asked about by --image"
        raise DataError(f"cannot read '{path}': {reason}; {remedy}") from None


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    r"""Yields the lines of a file, which end at "\n" only; of a line that is too long, its beginning."""
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
    """A JSONL file of answers: one line per question, in the order of the questions.

    An existing file that holds the first answers is continued. It must be of the same model at the same speed-up, and
    of the same questions; an incomplete last line is dropped.

    Args:
        path: The file, or "-" for standard output.
        label: Keys that every line ends with: the model's folder and version (`run`), and its `speedup`.

    Attributes:
        path: The file, or "-" for standard output.
        done: Number of the first questions whose answers the file already holds.

    Raises:
        DataError: The file cannot be written, or another process is writing it.
    """

    def __init__(self, path: str, label: Record):
        self.path = path
        self.done = 0
        self._whole = 0  # Bytes of the complete lines that are there already.
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
            # The failed write has been reported; closing the file only repeats it.
            if kind is None:
                raise

    def check_next(self, record: Record) -> bool:
        """Checks that the next of the existing answers belongs to a question.

        Args:
            record: Keys of the question.

        Returns:
            Whether the question was answered; False if it failed.

        Raises:
            DataError: The line is the answer to another question, by another model or at another speed-up, or no
                answer.
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
            record: Keys of the question.
            result: Keys of its answer.

        Raises:
            DataError: The disk is full, or the file is gone.
            BrokenPipeError: The reader of the output has ended.
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
        """Drops an incomplete last line; called only when the lines above it are known to be answers of ours."""
        if self._tail_is_cut:
            self._file.truncate(self._whole)
            self._tail_is_cut = False

    def _open(self, opened: contextlib.ExitStack) -> IO[bytes]:
        if self.path == "-":
            return sys.stdout.buffer
        if os.path.exists(self.path) and not stat.S_ISREG(os.stat(self.path).st_mode):
            # A pipe or a terminal holds no earlier answers.
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


def write_lines(path: str, records: Iterable[Record]) -> None:
    """Writes records as lines of JSON, all at once.

    Args:
        path: File to write, an earlier one is replaced; or "-" for standard output.
        records: The records.

    Raises:
        DataError: The file cannot be written.
    """
    lines = "".join(f"{json.dumps(record)}\n" for record in records)
    if path == "-":
        sys.stdout.write(lines)
        return
    try:
        write_whole(path, lines)
    except OSError as error:
        raise DataError(f"cannot write '{path}': {error.strerror or error}; choose another --output") from None


RESULT_KEYS = ("answer", "confidence", "macs_saved", "seconds", "text_cut", "error", "run", "speedup")
"""Keys that a line of answers adds to those of its question."""


def _passed_on(record: Record) -> Record:
    """Keys of a question that its answer repeats.

    Those that an answer uses itself are renamed to `given_...`.
    """
    passed = {key: value for key, value in record.items() if key not in RESULT_KEYS}
    for key in RESULT_KEYS:
        if key in record:
            name = f"given_{key}"
            while name in passed:
                name = f"given_{name}"
            passed[name] = record[key]
    return passed


def same_file(first: str, second: str) -> bool:
    """Tells whether two paths name the same existing file.

    Args:
        first: A path.
        second: Another path.

    Returns:
        True if both exist and are one file.
    """
    both = pathlib.Path(first), pathlib.Path(second)
    return all(path.exists() for path in both) and both[0].samefile(both[1])
