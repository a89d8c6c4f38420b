"""What every writer is: it takes the figures that a run logs."""

from collections.abc import Mapping
from typing import Protocol

from etils import epath


class Writer(Protocol):
    """Takes the figures of steps, on process 0 only.

    A writer of a user's own is a class with these methods that is constructed with the run's folder and the step that
    the run starts or resumes from; it is named as `package.module:Name`. Figures of later steps, left by an earlier
    attempt, are written again: a writer sees to it that each step is there once.
    """

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the figures of a step.

        Args:
            step: Steps done, from 1.
            values: By name; some may not be finite.
        """

    def flush(self) -> None:
        """Leaves nothing behind: called before a checkpoint is saved, from which a later run goes on."""

    def close(self) -> None:
        """Leaves nothing behind, and ends."""


class WriterClass(Protocol):
    """What makes a writer."""

    def __call__(self, workdir: epath.Path, start_step: int) -> Writer:
        """Opens one.

        Args:
            workdir: The run's folder, on a disk or in a bucket.
            start_step: The step the run starts or resumes from.
        """
