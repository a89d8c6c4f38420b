"""How far a run is: one rewritten line on a terminal, plain lines every so often elsewhere."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

import jax

_REDRAW_SECONDS = 0.2


class Progress:
    """Prints step, milliseconds a step, time left and chosen metrics, on process 0 only.

    Args:
        total_steps: steps of the whole run.
        shown: names of the metrics to print, in this order; names a step lacks are left out.
        every: steps between two lines where the stream is no terminal.
        stream: where to print; standard error by default.
    """

    def __init__(
        self, total_steps: int, shown: Sequence[str] = (), every: int = 50, stream: TextIO | None = None
    ) -> None:
        self._total, self._shown, self._every = total_steps, tuple(shown), every
        self._stream = stream if stream is not None else sys.stderr
        self._quiet = jax.process_index() != 0
        self._terminal = self._stream.isatty()
        self._timed_steps, self._drawn = 0, 0.0
        self._mark: float | None = None
        self._seconds, self._rewriting = 0.0, False

    def compiled(self, step: int, seconds: float) -> None:
        """Reports a step that compiled its program; its time counts in no average."""
        self._mark = None
        self._print(f"step {step}: compiled in {seconds:.1f} s", rewrite=False)

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Reports a finished step and its metrics."""
        now = time.perf_counter()
        if self._mark is not None:
            self._timed_steps += 1
            # An average over the last hundred steps or so follows a change of phase.
            self._seconds += (now - self._mark - self._seconds) / min(self._timed_steps, 100)
        self._mark = now
        last = step >= self._total
        if self._terminal and (last or now - self._drawn >= _REDRAW_SECONDS):
            self._drawn = now
            self._print(self._line(step, metrics), rewrite=not last)
        elif not self._terminal and (last or step % self._every == 0):
            self._print(self._line(step, metrics), rewrite=False)

    def close(self) -> None:
        """Ends a line that was being rewritten."""
        if self._rewriting:
            self._rewriting = False
            self._stream.write("\n")
            self._stream.flush()

    def _line(self, step: int, metrics: Mapping[str, float]) -> str:
        parts = [f"step {step}/{self._total}"]
        if self._timed_steps:
            parts.append(f"{1000 * self._seconds:.1f} ms/step")
            parts.append(f"{_clock(self._seconds * (self._total - step))} left")
        parts += [f"{name} {metrics[name]:.4g}" for name in self._shown if name in metrics]
        return "  ".join(parts)

    def _print(self, line: str, *, rewrite: bool) -> None:
        if self._quiet:
            return
        self._rewriting = rewrite
        start = "\r\x1b[K" if self._terminal else ""
        self._stream.write(start + line + ("" if rewrite else "\n"))
        self._stream.flush()


def _clock(seconds: float) -> str:
    """`1:02:03` for 3,723 seconds."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"
