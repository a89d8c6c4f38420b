"""TensorBoard's files in the run's folder."""

from collections.abc import Mapping

from etils import epath
from tensorboardX import SummaryWriter


class TensorBoardWriter:
    """Writes events; TensorBoard then shows none of an earlier attempt's later steps.

    Args:
        workdir: The run's folder, on a disk or in a bucket.
        start_step: The step the run starts or resumes from.
    """

    def __init__(self, workdir: epath.Path, start_step: int) -> None:
        self._events = SummaryWriter(str(workdir), purge_step=start_step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the figures of a step."""
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def flush(self) -> None:
        """Writes what is in memory."""
        self._events.flush()

    def close(self) -> None:
        """Writes what is in memory, and closes the file."""
        self._events.close()
