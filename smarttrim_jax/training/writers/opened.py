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
"""What makes a writer, by name."""


def check_writers(names: Sequence[str]) -> None:
    """Makes sure that there are such writers, before anything takes time.

    Args:
        names: As `schedule.writers` has them.

    Raises:
        ConfigError: There is none of a name, or it cannot be used here.
    """
    for name in names:
        WRITERS.find(name)
    if WANDB in names:
        imported_wandb()


class Writers:
    """Several writers as one, on process 0 only; `metrics.jsonl` is always written.

    What goes wrong in another writer does not end the run: a warning says so, and that writer takes no more.

    Args:
        names: As `schedule.writers` has them.
        workdir: The run's folder, on a disk or in a bucket; created if missing.
        start_step: The step the run starts or resumes from.

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
        """Takes the figures of a step.

        Raises:
            TrainingError: `metrics.jsonl` cannot be written.
        """
        if self._lines is not None:
            self._lines.write(step, values)
        for name in list(self._others):
            self._try(name, lambda writer: writer.write(step, values))

    def flush(self) -> None:
        """Leaves nothing behind; to be called before a checkpoint is saved, from which a later run goes on.

        Raises:
            TrainingError: `metrics.jsonl` cannot be written.
        """
        if self._lines is not None:
            self._lines.flush()
        for name in list(self._others):
            self._try(name, lambda writer: writer.flush())

    def close(self) -> None:
        """Leaves nothing behind, and closes all of them.

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
        """Lets a writer act; it leaves where it fails."""
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
