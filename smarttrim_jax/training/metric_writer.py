"""Metrics of a run: one JSON object a line, always; TensorBoard if asked."""

import json
import math
import os
import pathlib
from collections.abc import Mapping

import jax
from tensorboardX import SummaryWriter

from smarttrim_jax.errors import TrainingError

FILE_NAME = "metrics.jsonl"


class MetricWriter:
    """Writes metrics to `metrics.jsonl` and, if asked, to TensorBoard, on process 0 only.

    Args:
        workdir: the run's folder; created if missing.
        tensorboard: whether to write TensorBoard events too.
        start_step: the step the run starts or resumes from; lines of later steps, left by an earlier
            attempt, are dropped, so that the file has each step once.

    Raises:
        TrainingError: the folder cannot be written.
    """

    def __init__(self, workdir: str | os.PathLike[str], tensorboard: bool = False, start_step: int = 0) -> None:
        self._file = self._events = None
        if jax.process_index() != 0:
            return
        self._path = pathlib.Path(workdir) / FILE_NAME
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _drop_later_lines(self._path, start_step)
            self._file = self._path.open("a", encoding="utf-8")
            if tensorboard:
                self._events = SummaryWriter(str(self._path.parent), purge_step=start_step + 1)
        except OSError as error:
            raise TrainingError(f"cannot write metrics to '{workdir}': {error.strerror}") from None

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Adds one line: the step and its metrics; values that are not finite become null.

        Raises:
            TrainingError: the disk is full, or the folder is gone.
        """
        if self._file is None:
            return
        finite = {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}
        try:
            self._file.write(json.dumps({"step": step, **finite}, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise TrainingError(f"cannot write '{self._path}': {error.strerror}") from None
        if self._events is not None:
            for name, value in metrics.items():
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Closes the files."""
        for target in (self._file, self._events):
            if target is not None:
                target.close()
        self._file = self._events = None


def _drop_later_lines(path: pathlib.Path, step: int) -> None:
    """Keeps the whole lines up to `step`; the file is replaced at once, so that a crash loses nothing."""
    if not path.exists():
        return
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _line_step(line) <= step]
    scratch = path.with_suffix(".jsonl.tmp")
    scratch.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    scratch.replace(path)


def _line_step(line: str) -> float:
    """The step of a line; infinity for one that a crash cut short."""
    try:
        return json.loads(line)["step"]
    except json.JSONDecodeError:
        return math.inf
