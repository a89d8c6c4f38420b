"""Metrics of a run: one JSON object a line, always; TensorBoard if asked."""

import contextlib
import json
import math
import os
from collections.abc import Iterator, Mapping

import jax
from etils import epath
from tensorboardX import SummaryWriter

from smarttrim_jax.errors import TrainingError

FILE_NAME = "metrics.jsonl"


class MetricWriter:
    """Writes metrics to `metrics.jsonl` and, if asked, to TensorBoard, on process 0 only.

    Args:
        workdir: the run's folder, on a disk or in a bucket; created if missing.
        tensorboard: whether to write TensorBoard events too.
        start_step: the step the run starts or resumes from; lines of later steps, left by an earlier
            attempt, are dropped, so that the file has each step once.

    Raises:
        TrainingError: the folder cannot be written.
    """

    def __init__(self, workdir: str | os.PathLike[str], tensorboard: bool = False, start_step: int = 0) -> None:
        self._lines: _FileLines | _ObjectLines | None = None
        self._events: SummaryWriter | None = None
        if jax.process_index() != 0:
            return
        path = epath.Path(workdir) / FILE_NAME
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lines = (_ObjectLines if "://" in str(path) else _FileLines)(path, _lines_until(path, start_step))
            if tensorboard:
                self._events = SummaryWriter(str(path.parent), purge_step=start_step + 1)
        except OSError as error:
            raise TrainingError(f"cannot write metrics to '{workdir}': {error.strerror or error}") from None

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds one line: the step and its metrics; values that are not finite become null.

        Raises:
            TrainingError: the disk is full, or the folder is gone.
        """
        if self._lines is None:
            return
        finite = {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}
        with _explained(self._lines.path):
            self._lines.add(json.dumps({"step": step, **finite}, allow_nan=False))
        if self._events is not None:
            for name, value in metrics.items():
                self._events.add_scalar(name, value, step)

    def flush(self) -> None:
        """Leaves no line behind: to be called before a checkpoint is saved, from which a later run goes on.

        Raises:
            TrainingError: as in `write`.
        """
        if self._lines is not None:
            with _explained(self._lines.path):
                self._lines.flush()

    def close(self) -> None:
        """Leaves no line behind, and closes the files."""
        lines, events, self._lines, self._events = self._lines, self._events, None, None
        if events is not None:
            events.close()
        if lines is not None:
            with _explained(lines.path):
                lines.close()


class _FileLines:
    """A file, to which every line is added at once."""

    def __init__(self, path: epath.Path, kept: list[str]) -> None:
        # Replaced as a whole, so that a crash loses nothing.
        scratch = path.with_suffix(".jsonl.tmp")
        scratch.write_text("".join(f"{line}\n" for line in kept))
        scratch.replace(path)
        self.path, self._file = path, path.open("a", encoding="utf-8")

    def add(self, line: str) -> None:
        self._file.write(f"{line}\n")
        self._file.flush()

    def flush(self) -> None: ...

    def close(self) -> None:
        self._file.close()


class _ObjectLines:
    """An object of a bucket, to which nothing can be added: it is written anew, but not for every line."""

    def __init__(self, path: epath.Path, kept: list[str]) -> None:
        self.path, self._lines, self._written = path, kept, len(kept)

    def add(self, line: str) -> None:
        self._lines.append(line)

    def flush(self) -> None:
        if self._written < len(self._lines):
            self.path.write_text("".join(f"{line}\n" for line in self._lines))
            self._written = len(self._lines)

    def close(self) -> None:
        self.flush()


@contextlib.contextmanager
def _explained(path: epath.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrainingError(f"cannot write '{path}': {error.strerror or error}") from None


def _lines_until(path: epath.Path, step: int) -> list[str]:
    """The whole lines up to a step; none where there is no file."""
    return [line for line in path.read_text().splitlines() if _line_step(line) <= step] if path.exists() else []


def _line_step(line: str) -> float:
    """The step of a line; infinity for one that a crash cut short."""
    try:
        return json.loads(line)["step"]
    except json.JSONDecodeError:
        return math.inf
