"""Progress of training: one rewritten line on a terminal, a plain line every so many steps elsewhere."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TextIO

from smarttrim_jax.progress import REDRAW_SECONDS, StatusLine, clock, waiting


class Progress:
    """Prints step, milliseconds per step, time left and chosen metrics, on process 0 only.

    Args:
        total_steps: Steps of the whole run.
        shown: Names of the metrics to print, in this order; names that a step lacks are left out.
        every: Steps between two lines where the stream is not a terminal.
        stream: Stream to print to; None for standard error.
    """

    def __init__(
        self, total_steps: int, shown: Sequence[str] = (), every: int = 50, stream: TextIO | None = None
    ) -> None:
        self._total, self._shown, self._every = total_steps, tuple(shown), every
        self._stream, self._display = stream, StatusLine(stream)
        self._timed_steps, self._drawn = 0, 0.0
        self._mark: float | None = None
        self._seconds = 0.0

    @contextlib.contextmanager
    def compiling(self, step: int) -> Iterator[None]:
        """Context that announces a step's compilation; its time counts in no average.

        Args:
            step: Number of the step whose program is compiled.

        Yields:
            Nothing.
        """
        self._display.close()
        with waiting(f"compiling step {step}", self._stream):
            yield
        self._mark = None

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Shows a finished step and its metrics.

        Args:
            step: Number of steps done.
            metrics: Values by name.
        """
        now = time.perf_counter()
        if self._mark is not None:
            self._timed_steps += 1
            # An average over about a hundred steps adapts when a phase with slower or faster steps begins.
            self._seconds += (now - self._mark - self._seconds) / min(self._timed_steps, 100)
        self._mark = now
        last = step >= self._total
        if last:
            self._display.finish(self._line(step, metrics))
        elif self._display.is_terminal and now - self._drawn >= REDRAW_SECONDS:
            self._drawn = now
            self._display.rewrite(self._line(step, metrics))
        elif not self._display.is_terminal and step % self._every == 0:
            self._display.finish(self._line(step, metrics))

    def say(self, line: str) -> None:
        """Prints a line of its own.

        Args:
            line: The text.
        """
        self._display.finish(line)

    def close(self) -> None:
        """Ends a line that was being rewritten."""
        self._display.close()

    def _line(self, step: int, metrics: Mapping[str, float]) -> str:
        parts = [f"step {step}/{self._total}"]
        if self._timed_steps:
            parts.append(f"{1000 * self._seconds:.1f} ms/step")
            parts.append(f"{clock(self._seconds * (self._total - step))} left")
        parts += [f"{name} {metrics[name]:.4g}" for name in self._shown if name in metrics]
        return "  ".join(parts)
