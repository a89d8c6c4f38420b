"""Progress is readable on a terminal and in a log."""

import io

from terminal import Terminal

from smarttrim_jax.training.progress import Progress


def steps(progress: Progress, clock: list[float], first: int, last: int, seconds: float) -> None:
    for step in range(first, last + 1):
        clock[0] += seconds
        progress.update(step, {"loss": 1 / step, "macs": 0.5, "other": 7.0})


def test_a_log_gets_a_plain_line_every_so_many_steps(clock):
    stream = io.StringIO()
    steps(Progress(10, ("loss", "macs", "absent"), every=4, stream=stream), clock, 1, 10, 2.0)
    assert stream.getvalue().splitlines() == [
        "step 4/10  2000.0 ms/step  0:00:12 left  loss 0.25  macs 0.5",
        "step 8/10  2000.0 ms/step  0:00:04 left  loss 0.125  macs 0.5",
        "step 10/10  2000.0 ms/step  0:00:00 left  loss 0.1  macs 0.5",
    ]


def test_compilation_is_reported_apart_and_in_no_average(clock):
    stream = io.StringIO()
    progress = Progress(4000, every=2, stream=stream)
    with progress.compiling(1):
        assert stream.getvalue() == "compiling step 1 ...\n"
        clock[0] += 60
    steps(progress, clock, 1, 2, 1.0)
    with progress.compiling(3):
        clock[0] += 30
    steps(progress, clock, 3, 4, 1.0)
    assert stream.getvalue().splitlines() == [
        "compiling step 1 ...",
        "compiling step 1: 60.0 s",
        "step 2/4000  1000.0 ms/step  1:06:38 left",
        "compiling step 3 ...",
        "compiling step 3: 30.0 s",
        "step 4/4000  1000.0 ms/step  1:06:36 left",
    ]


def test_a_terminal_keeps_one_line(clock):
    stream = Terminal()
    progress = Progress(5, ("loss",), every=1, stream=stream)
    steps(progress, clock, 1, 4, 1.0)
    assert stream.getvalue().count("\r\x1b[K") == 4
    assert "\n" not in stream.getvalue()
    progress.close()
    progress.close()
    assert stream.getvalue().count("\n") == 1
