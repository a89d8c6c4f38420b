"""Measured times of a model's executions, by which one is chosen."""

import dataclasses
import math
from collections.abc import Iterable

from smarttrim_jax.configuration import Settings
from smarttrim_jax.execution.base import Execution
from smarttrim_jax.ranges import PositiveFloat, PositiveInt


@dataclasses.dataclass(frozen=True)
class Timing(Settings):
    """The time of one execution.

    Attributes:
        device: The device's kind, as JAX names it.
        batch_size: Examples of a batch.
        execution: The execution.
        seconds: Median time of a trimmed batch, in seconds.
    """

    device: str
    batch_size: PositiveInt
    execution: Execution
    seconds: PositiveFloat


@dataclasses.dataclass(frozen=True)
class ExecutionTimings(Settings):
    """The times of a model's executions.

    Attributes:
        rows: Times, of any devices and batch sizes.
    """

    rows: tuple[Timing, ...] = ()

    def fastest(self, device: str, batch_size: int) -> Timing | None:
        """Finds the fastest execution at the measured batch size that is nearest.

        Args:
            device: The device's kind.
            batch_size: Examples of a batch.

        Returns:
            Its time; None if nothing was measured on such a device.
        """
        own = [row for row in self.rows if row.device == device]
        if not own:
            return None
        nearest = min((row.batch_size for row in own), key=lambda size: abs(math.log(size / batch_size)))
        return min((row for row in own if row.batch_size == nearest), key=lambda row: row.seconds)

    def renewed(self, rows: Iterable[Timing]) -> "ExecutionTimings":
        """Adds new times, in the place of those that were measured on such a device with as many examples.

        Args:
            rows: The new times.

        Returns:
            All times.
        """
        new = tuple(rows)
        measured = {(row.device, row.batch_size) for row in new}
        kept = [row for row in self.rows if (row.device, row.batch_size) not in measured]
        return ExecutionTimings((*kept, *new))
