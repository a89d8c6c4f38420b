"""Stopping in an orderly way on SIGTERM (the machine is taken away) or Ctrl-C.

Several processes stop where JAX's preemption service says, which Orbax asks too. The service exists only in processes
that were joined (`jax.distributed`), and knows SIGTERM alone: one process, and Ctrl-C, are handled here.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

import jax
from jax.experimental import multihost_utils


class Preempted(Exception):  # noqa: N818 (no error: the run stops as asked)
    """The run was asked to stop and has saved its state.

    Args:
        signal_number: Number of the signal that was received.
        step: Step of the checkpoint that was saved.

    Attributes:
        step: Step of the checkpoint that was saved.
        exit_code: Exit status of the process by convention: 128 + signal number.
    """

    def __init__(self, signal_number: int, step: int) -> None:
        super().__init__(
            f"stopped by {signal.Signals(signal_number).name} after step {step}, which is saved; "
            "run the same command again to go on"
        )
        self.step = step
        self.exit_code = 128 + signal_number


@contextlib.contextmanager
def leaving_on_sigterm() -> Iterator[None]:
    """Context in which SIGTERM raises SystemExit, so that locks and files are released.

    With several processes JAX handles SIGTERM itself, and only the main thread can install handlers: in these cases
    nothing is done.
    """
    if jax.process_count() > 1 or threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        """Raises SystemExit with the exit status of the signal.

        Args:
            number: Number of the signal.
            frame: Current stack frame; ignored.
        """
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class PreemptionGuard:
    """Context in which SIGTERM and the first Ctrl-C set a flag; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    def requested(self, step: int) -> int | None:
        """Returns the signal to obey after a step; the answer is the same on every process.

        Args:
            step: Number of steps done.

        Returns:
            Number of the signal, or None to go on.
        """
        # With several processes JAX handles SIGTERM itself and finds a step that all of them reach.
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
            return signal.SIGTERM
        return self._received

    def __enter__(self) -> "PreemptionGuard":
        # If one of several processes stopped alone, the others would wait for it in a collective operation.
        alone = jax.process_count() == 1
        for number in (signal.SIGTERM, signal.SIGINT) if alone else (signal.SIGINT,):
            self._previous[number] = signal.signal(number, self._receive if alone else self._tell)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        signal.signal(signal.SIGINT, self._previous[signal.SIGINT])

    def _tell(self, number: int, frame: FrameType | None) -> None:
        """Asks all processes to stop: JAX does so after a SIGTERM to any of them."""
        os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGINT, self._previous[signal.SIGINT])
