"""Progress of a piece of work: one rewritten line on a terminal, plain lines every few seconds elsewhere.

Everything is printed to standard error by process 0 only. tqdm and rich draw bars for terminals; most of these lines
end in log files of clusters, where both would write a new bar with every update, and neither tells that a program is
being compiled while nothing returns.
"""

import collections
import contextlib
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TextIO, TypeVar

import jax

REDRAW_SECONDS = 0.2  # on a terminal
LOG_SECONDS = 5.0  # between two plain lines
WAITING_LOG_SECONDS = 30.0  # between two plain lines that tell only the elapsed time
RATE_SECONDS = 30.0  # the rate is an average over these, so that it follows a change of pace

T = TypeVar("T")


class StatusLine:
    """A line that is rewritten on a terminal; on other streams each text is a line of its own.

    Args:
        stream: Stream to print to; None takes standard error.

    Attributes:
        is_terminal: Whether lines can be rewritten.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr
        # jax.process_index() would start the backend of a single process, which could then join no others.
        self._quiet = jax.distributed.is_initialized() and jax.process_index() != 0
        self._open = False
        self.is_terminal = self._stream.isatty()

    def rewrite(self, text: str) -> None:
        """Shows a text in place of the line shown before, or as a line of its own if the stream is no terminal.

        Args:
            text: The text, without a line break.
        """
        self._print(text, ends=not self.is_terminal)

    def finish(self, text: str) -> None:
        """Shows a text in place of the line shown before, and ends the line.

        Args:
            text: The text, without a line break.
        """
        self._print(text, ends=True)

    def close(self) -> None:
        """Ends the line shown last, so that later output begins a new one."""
        if self._open:
            self._open = False
            self._stream.write("\n")
            self._stream.flush()

    def _print(self, text: str, *, ends: bool) -> None:
        if self._quiet:
            return
        start = "\r\x1b[K" if self.is_terminal else ""
        self._stream.write(start + text + ("\n" if ends else ""))
        self._stream.flush()
        self._open = not ends


class ProgressLine:
    """Shows how many parts of a piece of work are done, at which rate, and the time left.

    Work that ends within the first interval (a fifth of a second on a terminal, five seconds elsewhere) prints
    nothing.

        with ProgressLine("evaluating", total=len(batches), unit="batches") as progress:
            for batch in progress.over(batches):
                ...

    Args:
        what: Name of the work, with which the line begins.
        total: Number of parts of the whole work; None if it is unknown.
        unit: Name of a part, in the plural.
        done: Number of parts that were done earlier; they do not count in the rate.
        stream: Stream to print to; None takes standard error.

    Attributes:
        total: Number of parts; may be set once it is known.
    """

    def __init__(
        self,
        what: str,
        total: int | None = None,
        unit: str = "examples",
        done: int = 0,
        stream: TextIO | None = None,
    ) -> None:
        self._what = what
        self.total = total
        self._unit = unit
        self._done = done
        self._line = StatusLine(stream)
        self._interval = REDRAW_SECONDS if self._line.is_terminal else LOG_SECONDS
        self._start = time.perf_counter()
        self._drawn = self._start
        self._mentioned = False
        # (time, parts done) of the lines within the last RATE_SECONDS, and of the start until then.
        self._history = collections.deque([(self._start, done)])

    def advance(self, parts: int = 1) -> None:
        """Counts further parts as done, and shows the line if the interval has passed.

        Args:
            parts: Number of parts.
        """
        self._done += parts
        now = time.perf_counter()
        if now - self._drawn >= self._interval:
            self._drawn = now
            self._mentioned = True
            self._line.rewrite(self._text(now))

    def over(self, parts: Iterable[T]) -> Iterator[T]:
        """Iterates over parts, and counts each as done once the next one is requested.

        Args:
            parts: The parts.

        Yields:
            Each part.
        """
        for part in parts:
            yield part
            self.advance()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._mentioned:
            seconds = time.perf_counter() - self._start
            self._line.finish(f"{self._what}: {self._done:,} {self._unit} in {clock(seconds)}")
        self._line.close()

    def _text(self, now: float) -> str:
        while len(self._history) > 1 and now - self._history[0][0] > RATE_SECONDS:
            self._history.popleft()
        before, done_before = self._history[0]
        self._history.append((now, self._done))
        rate = (self._done - done_before) / (now - before)
        whole = "" if self.total is None else f" of {self.total:,}"
        parts = [f"{self._what}: {self._done:,}{whole} {self._unit}", f"{rate:,.3g}/s"]
        if self.total is not None and rate > 0:
            parts.append(f"{clock(max(self.total - self._done, 0) / rate)} left")
        return "  ".join(parts)


@contextlib.contextmanager
def waiting(what: str, stream: TextIO | None = None) -> Iterator[None]:
    """Shows that something takes a while (compiling a program), and finally how long it took.

    The seconds are counted on a terminal, and printed every half a minute elsewhere.

        with waiting("compiling the training step"):
            compiled = lowered.compile()

    Args:
        what: Name of the work, with which the line begins.
        stream: Stream to print to; None takes standard error.

    Yields:
        None.
    """
    line = StatusLine(stream)
    start = time.perf_counter()
    ended = threading.Event()

    def count() -> None:
        while not ended.wait(1.0 if line.is_terminal else WAITING_LOG_SECONDS):
            line.rewrite(f"{what} ... {time.perf_counter() - start:.0f} s")

    line.rewrite(f"{what} ...")
    counter = threading.Thread(target=count, name="waiting", daemon=True)
    counter.start()
    try:
        yield
    finally:
        ended.set()
        counter.join()
        line.finish(f"{what}: {time.perf_counter() - start:.1f} s")


def clock(seconds: float) -> str:
    """Formats a time: `1:02:03` for 3,723 seconds.

    Args:
        seconds: The time in seconds.

    Returns:
        Hours, minutes and seconds.
    """
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}"
