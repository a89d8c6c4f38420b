"""Runs the commands of a sweep, several at the same time, and passes signals on to them."""

import contextlib
import os
import signal
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from smarttrim_jax.errors import ConfigError

CANNOT_START = 127


def slots(parallel: int, devices: str | None) -> list[dict[str, str]]:
    """Builds the environments of the slots in which runs take place at the same time.

    Args:
        parallel: Number of slots.
        devices: Comma-separated ids of GPUs, divided evenly among the slots; None leaves the environment as it is.

    Returns:
        Environment variables of each slot.

    Raises:
        ConfigError: `parallel` is below 1, or the devices cannot be divided evenly.
    """
    if parallel < 1:
        raise ConfigError(f"--parallel is {parallel}; it must be at least 1")
    if devices is None:
        return [{} for _ in range(parallel)]
    names = [name for name in devices.split(",") if name]
    if not names or len(names) % parallel:
        raise ConfigError(
            f"--devices={devices} names {len(names)} GPUs, which --parallel={parallel} cannot share out"
        )
    share = len(names) // parallel
    return [{"CUDA_VISIBLE_DEVICES": ",".join(names[i * share : (i + 1) * share])} for i in range(parallel)]


class Execution:
    """Runs commands, each in a free slot; while entered as a context, signals to stop are passed on to all of them.

    Args:
        places: Environment variables of each slot, in addition to those of this process.
    """

    def __init__(self, places: Sequence[Mapping[str, str]]) -> None:
        self.stopped = 0
        """Exit status that a received signal asks for, or 0."""
        self._free = list(places)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Execution":
        self._before = {each: signal.signal(each, self._stop) for each in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: types.FrameType | None) -> None:
        self.stopped = 128 + number
        for process in list(self._running):
            process.send_signal(number)

    def execute(self, command: list[str], log: epath.Path | None) -> int:
        """Runs a command to its end; may be called from as many threads as there are slots.

        Args:
            command: Words of the command.
            log: File that its output is appended to; None leaves the output on the terminal.

        Returns:
            Its exit status: 128 + signal number if a signal ended it, `CANNOT_START` if it could not be started.
        """
        place = self._free.pop()
        try:
            with _output(log) as file, self._started(command, dict(os.environ) | dict(place), file) as process:
                code = process.wait()
        except OSError as error:
            print(f"cannot start {command[0]}: {error.strerror or error}", file=sys.stderr, flush=True)
            return CANNOT_START
        finally:
            self._free.append(place)
        return 128 - code if code < 0 else code

    @contextlib.contextmanager
    def _started(
        self, command: list[str], environment: dict[str, str], file: Any
    ) -> Iterator[subprocess.Popen[bytes]]:
        # With a process group of its own, a signal of the terminal reaches this process only, and is passed on once.
        process = subprocess.Popen(command, process_group=0, env=environment, stdout=file, stderr=file)
        self._running.add(process)
        try:
            if self.stopped:  # The signal arrived before the process was registered.
                process.send_signal(self.stopped - 128)
            yield process
        finally:
            self._running.discard(process)


def _output(log: epath.Path | None) -> contextlib.AbstractContextManager[Any]:
    """Context of an open log to append to, or of None."""
    return contextlib.nullcontext() if log is None else open(log, "ab")
