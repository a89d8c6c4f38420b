"""Metrics of a run in its folder: one JSON object per line."""

import contextlib
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping

from etils import epath

from smarttrim_jax.errors import TrainingError
from smarttrim_jax.small_files import in_bucket, read_whole, write_whole

_log = logging.getLogger(__name__)

FILE_NAME = "metrics.jsonl"
_MOST_BYTES = 2**32


class JsonlWriter:
    """Writes metrics to `metrics.jsonl`.

    Args:
        workdir: Folder of the run, on a disk or in a bucket; created if missing.
        start_step: Step that the run starts or resumes from. Lines of later steps, left by an interrupted attempt,
            are dropped, so that the file has each step once. Lines that cannot be read are moved to
            `metrics.jsonl.damaged`.

    Raises:
        TrainingError: The folder cannot be written.
    """

    def __init__(self, workdir: str | os.PathLike[str], start_step: int) -> None:
        path = epath.Path(workdir) / FILE_NAME
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            kept, damaged = _lines_until(path, start_step)
            if damaged:
                _set_aside(path, damaged)
            self._lines: _FileLines | _ObjectLines = (_ObjectLines if in_bucket(path) else _FileLines)(path, kept)
        except OSError as error:
            raise TrainingError(f"cannot write metrics to '{workdir}': {error.strerror or error}") from None

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one line with the step and its metrics; values that are not finite become null.

        Args:
            step: Number of steps done.
            values: Metrics by name.

        Raises:
            TrainingError: The disk is full, or the folder is gone.
        """
        finite = {name: float(value) if math.isfinite(value) else None for name, value in values.items()}
        with _explained(self._lines.path):
            self._lines.add(json.dumps({"step": step, **finite}, allow_nan=False))

    def flush(self) -> None:
        """Writes lines that are still in memory.

        Raises:
            TrainingError: See `write`.
        """
        with _explained(self._lines.path):
            self._lines.flush()

    def close(self) -> None:
        """Writes lines that are still in memory and closes the file.

        Raises:
            TrainingError: See `write`.
        """
        with _explained(self._lines.path):
            self._lines.close()


class _FileLines:
    """Lines of a file on a disk; every line is written at once."""

    def __init__(self, path: epath.Path, kept: list[str]) -> None:
        # The file is replaced as a whole, so that a crash loses nothing.
        write_whole(path, "".join(f"{line}\n" for line in kept))
        self.path = path
        self._file = path.open("a", encoding="utf-8")

    def add(self, line: str) -> None:
        """Writes a line.

        Args:
            line: Line without its end.
        """
        self._file.write(f"{line}\n")
        self._file.flush()

    def flush(self) -> None: ...

    def close(self) -> None:
        self._file.close()


class _ObjectLines:
    """Lines of an object in a bucket, which cannot be appended to: it is rewritten as a whole, at every flush."""

    def __init__(self, path: epath.Path, kept: list[str]) -> None:
        self.path, self._lines, self._written = path, kept, len(kept)

    def add(self, line: str) -> None:
        """Keeps a line in memory until the next flush.

        Args:
            line: Line without its end.
        """
        self._lines.append(line)

    def flush(self) -> None:
        if self._written < len(self._lines):
            write_whole(self.path, "".join(f"{line}\n" for line in self._lines))
            self._written = len(self._lines)

    def close(self) -> None:
        self.flush()


@contextlib.contextmanager
def _explained(path: epath.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrainingError(f"cannot write '{path}': {error.strerror or error}") from None


def _lines_until(path: epath.Path, step: int) -> tuple[list[str], list[bytes]]:
    """Reads the lines of a file up to a step, and the damaged lines; both empty where there is no file."""
    try:
        content = read_whole(path, _MOST_BYTES)
    except FileNotFoundError:
        return [], []
    kept: list[str] = []
    damaged: list[bytes] = []
    for raw in content.split(b"\n"):
        if not raw.strip():
            continue
        try:
            line = raw.decode()
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict) or type(values.get("step")) is not int:
            damaged.append(raw)
        elif values["step"] <= step:
            kept.append(line)
    return kept, damaged


def _set_aside(path: epath.Path, damaged: list[bytes]) -> None:
    """Appends damaged lines to a file beside the original."""
    beside = path.with_name(f"{path.name}.damaged")
    before = read_whole(beside, _MOST_BYTES) if beside.exists() else b""
    write_whole(beside, before + b"".join(line + b"\n" for line in damaged))
    _log.warning("%s: %d damaged lines were moved to '%s'", path, len(damaged), beside.name)
