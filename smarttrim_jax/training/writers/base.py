"""The protocol of writers, which receive the metrics that a run logs."""

from collections.abc import Mapping
from typing import Protocol

from etils import epath


class Writer(Protocol):
    """Receives the metrics of steps, on process 0 only.

    A user's own writer is a class with these methods that is constructed with the run's folder and the step that the
    run starts or resumes from; it is named as `package.module:Name`. Metrics of later steps, left by an interrupted
    attempt, are written again: a writer must make sure that each step is there once.
    """

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Receives the metrics of a step.

        Args:
            step: Number of steps done, from 1.
            values: Metrics by name; some may not be finite.
        """

    def flush(self) -> None:
        """Writes everything that is still in memory.

        Called before a checkpoint is saved, from which a later run resumes.
        """

    def close(self) -> None:
        """Writes everything that is still in memory and closes the writer."""


class WriterClass(Protocol):
    """Creates a writer; a class or a function."""

    def __call__(self, workdir: epath.Path, start_step: int) -> Writer:
        """Opens a writer.

        Args:
            workdir: Folder of the run, on a disk or in a bucket.
            start_step: Step that the run starts or resumes from.

        Returns:
            The writer.
        """
