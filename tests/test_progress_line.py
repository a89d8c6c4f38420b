"""What is left of a piece of work is readable on a terminal and in a log."""

import io
from collections.abc import Iterable, Iterator

import jax
import pytest
from terminal import Terminal

from smarttrim_jax.progress import ProgressLine, waiting


def work(progress: ProgressLine, clock: list[float], parts: Iterable[int], seconds: float) -> None:
    with progress:
        for _ in progress.over(parts):
            clock[0] += seconds


def test_a_log_gets_count_rate_and_time_left_every_few_seconds(clock):
    stream = io.StringIO()
    work(ProgressLine("reading", total=12, unit="files", stream=stream), clock, range(12), 1.0)
    assert stream.getvalue().splitlines() == [
        "reading: 5 of 12 files  1/s  0:00:07 left",
        "reading: 10 of 12 files  1/s  0:00:02 left",
        "reading: 12 files in 0:00:12",
    ]


def test_without_a_total_no_time_left_is_told(clock):
    stream = io.StringIO()
    work(ProgressLine("reading", stream=stream), clock, range(2), 5.0)
    assert stream.getvalue().splitlines()[:2] == ["reading: 1 examples  0.2/s", "reading: 2 examples  0.2/s"]


def test_what_was_done_earlier_counts_in_no_rate(clock):
    stream = io.StringIO()
    work(ProgressLine("reading", total=110, done=100, stream=stream), clock, range(10), 1.0)
    assert stream.getvalue().splitlines()[0] == "reading: 105 of 110 examples  1/s  0:00:05 left"


def test_the_rate_follows_a_change_of_pace(clock):
    stream = io.StringIO()
    with ProgressLine("reading", total=1000, stream=stream) as progress:
        for seconds in [60.0] + [1.0] * 40:
            clock[0] += seconds
            progress.advance()
    assert stream.getvalue().splitlines()[-2].endswith("1/s  0:15:59 left")


def test_a_terminal_keeps_one_line(clock):
    stream = Terminal()
    work(ProgressLine("reading", total=9, stream=stream), clock, range(9), 1.0)
    assert stream.getvalue().count("\r\x1b[K") == 10
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().endswith("reading: 9 examples in 0:00:09\n")


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_what_ends_at_once_is_not_mentioned(clock, stream):
    work(ProgressLine("reading", total=9, stream=stream), clock, range(9), 0.01)
    assert stream.getvalue() == ""


def fail_after(parts: int) -> Iterator[int]:
    yield from range(parts)
    raise ValueError("bad")


def test_an_error_leaves_the_count_and_ends_the_line(clock):
    stream = Terminal()
    with pytest.raises(ValueError, match="bad"):
        work(ProgressLine("reading", total=9, stream=stream), clock, fail_after(1), 1.0)
    assert stream.getvalue() == "\r\x1b[Kreading: 1 of 9 examples  1/s  0:00:08 left\n"


def test_waiting_is_said_before_and_timed_after(clock):
    stream = io.StringIO()
    with waiting("compiling", stream=stream):
        assert stream.getvalue() == "compiling ...\n"
        clock[0] += 2
    assert stream.getvalue() == "compiling ...\ncompiling: 2.0 s\n"


def test_only_the_first_process_speaks(clock, monkeypatch):
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    stream = Terminal()
    work(ProgressLine("reading", total=9, stream=stream), clock, range(9), 1.0)
    with waiting("compiling", stream=stream):
        pass
    assert stream.getvalue() == ""
