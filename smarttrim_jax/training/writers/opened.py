"""The writers of a run by name, opened together."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence

import jax
from etils import epath

from smarttrim_jax.errors import ConfigError, SmartTrimError, quoted, reason
from smarttrim_jax.registry import Registry
from smarttrim_jax.training.writers.base import Writer, WriterClass
from smarttrim_jax.training.writers.jsonl import JsonlWriter
from smarttrim_jax.training.writers.tensorboard import TensorBoardWriter
from smarttrim_jax.training.writers.weights_and_biases import WandbWriter, imported_wandb

_log = logging.getLogger(__name__)

JSONL = "jsonl"
WANDB = "wandb"

WRITERS: Registry[WriterClass] = Registry(
    "writer", {JSONL: JsonlWriter, "tensorboard": TensorBoardWriter, WANDB: WandbWriter}
)
"""Classes of writers by name."""


def check_writers(names: Sequence[str]) -> None:
    """Checks that writers of these names exist and can be used, before anything takes time.

    Args:
        names: Names in `schedule.writers`.

    Raises:
        ConfigError: There is no writer of a name, or its package is not installed.
    """
    for name in names:
        WRITERS.find(name)
    if WANDB in names:
        imported_wandb()


class Writers:
    """Several writers as one, on process 0 only; `metrics.jsonl` is always written.

    An error in another writer does not end the run: a warning reports it, and that writer receives nothing more.

    Args:
        names: Names in `schedule.writers`.
        workdir: Folder of the run, on a disk or in a bucket; created if missing.
        start_step: Step that the run starts or resumes from.

    Raises:
        ConfigError: A writer cannot be opened.
        TrainingError: The folder cannot be written.
    """

    def __init__(self, names: Sequence[str], workdir: str | os.PathLike[str], start_step: int = 0) -> None:
        self._lines: JsonlWriter | None = None
        self._others: dict[str, Writer] = {}
        if jax.process_index() != 0:
            return
        self._lines = JsonlWriter(workdir, start_step)
        try:
            for name in dict.fromkeys(names):
                if name != JSONL:
                    self._others[name] = _opened(name, epath.Path(workdir), start_step)
        except BaseException:
            self.close()
            raise

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Passes the metrics of a step to every writer.

        Args:
            step: Number of steps done.
            values: Metrics by name.

        Raises:
            TrainingError: `metrics.jsonl` cannot be written.
        """
        if self._lines is not None:
            self._lines.write(step, values)
        for name in list(self._others):
            self._try(name, lambda writer: writer.write(step, values))

    def flush(self) -> None:
        """Flushes every writer; call it before a checkpoint is saved, from which a later run resumes.

        Raises:
            TrainingError: `metrics.jsonl` cannot be written.
        """
        if self._lines is not None:
            self._lines.flush()
        for name in list(self._others):
            self._try(name, lambda writer: writer.flush())

    def close(self) -> None:
        """Flushes and closes every writer.

        Raises:
            TrainingError: `metrics.jsonl` cannot be written.
        """
        lines, self._lines = self._lines, None
        for name in list(self._others):
            self._try(name, lambda writer: writer.close())
        self._others = {}
        if lines is not None:
            lines.close()

    def _try(self, name: str, action: Callable[[Writer], None]) -> None:
        """Calls an action on a writer; a writer that fails is dropped."""
        try:
            action(self._others[name])
        except Exception as error:
            del self._others[name]
            _log.warning("the writer %s failed and takes no more (%s)", quoted(name), _described(error))


def _opened(name: str, workdir: epath.Path, start_step: int) -> Writer:
    try:
        return WRITERS.find(name)(workdir, start_step)
    except SmartTrimError:
        raise
    except Exception as error:
        raise ConfigError(f"the writer {quoted(name)} cannot be opened ({_described(error)})") from error


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {reason(error)}"
