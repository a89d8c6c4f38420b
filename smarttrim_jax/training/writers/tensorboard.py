"""Metrics as TensorBoard event files in the run's folder."""

from collections.abc import Mapping

from etils import epath
from tensorboardX import SummaryWriter


class TensorBoardWriter:
    """Writes TensorBoard events; later steps of an interrupted attempt are purged from the display.

    Args:
        workdir: Folder of the run, on a disk or in a bucket.
        start_step: Step that the run starts or resumes from.
    """

    def __init__(self, workdir: epath.Path, start_step: int) -> None:
        self._events = SummaryWriter(str(workdir), purge_step=start_step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the metrics of a step as scalars.

        Args:
            step: Number of steps done.
            values: Metrics by name.
        """
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def flush(self) -> None:
        """Writes events that are still in memory."""
        self._events.flush()

    def close(self) -> None:
        """Writes events that are still in memory and closes the file."""
        self._events.close()
