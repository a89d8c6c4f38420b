"""Leaving in good order when the machine is taken away (SIGTERM) or the user asks (Ctrl-C)."""

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
        signal_number: the signal received.
        step: the step saved.
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
    """While entered, SIGTERM ends the process as an exception does, so that what it holds is let go.

    Of several processes JAX holds SIGTERM itself, and only the main thread can take it: nothing is done there.
    """
    if jax.process_count() > 1 or threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class PreemptionGuard:
    """While entered, SIGTERM and the first Ctrl-C set a flag; a second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self._received: int | None = None
        self._previous: dict[int, Any] = {}

    def requested(self, step: int) -> int | None:
        """The signal to obey after `step`, the same answer on every process, or None."""
        # With several processes JAX holds SIGTERM itself and finds a step that all of them reach.
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(step):
            return signal.SIGTERM
        return self._received

    def __enter__(self) -> "PreemptionGuard":
        # Of several processes one alone obeying would leave the others waiting in a collective.
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
        """Asks all processes to leave, as JAX does after a SIGTERM to any."""
        os.kill(os.getpid(), signal.SIGTERM)
        signal.signal(signal.SIGINT, self._previous[signal.SIGINT])
