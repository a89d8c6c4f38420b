"""Runs a plan within its time: compiles in parallel, times alone, and stops cleanly.

Timing needs the machine for itself, and compilation is most of the work. So every stage first compiles all that it
times, on many threads (XLA compiles without Python's lock), and nothing is timed until they are done.
"""

import abc
import gc
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from typing import Any, NamedTuple

import jax

from smarttrim_jax.benchmarking.accelerator.report import Report
from smarttrim_jax.benchmarking.speed import Row

RESERVE = 15.0
"""Seconds reserved at the end for timing what the last stage has compiled."""


class Compiled(NamedTuple):
    """A call that has run once.

    Attributes:
        call: Function without arguments; its result must be waited for.
        seconds: Seconds until its first result, while other programs were compiled at the same time.
    """

    call: Callable[[], Any]
    seconds: float


class Study(abc.ABC):
    """Measurements that belong together: calls that are compiled separately, and timed together.

    Attributes:
        name: Name of the study in the report.
    """

    name: str

    @abc.abstractmethod
    def parts(self) -> Mapping[str, Callable[[], Callable[[], Any]]]:
        """Prepares the calls.

        Returns:
            By name, a function that creates a call; these functions run in parallel.
        """

    @abc.abstractmethod
    def rows(self, ready: Mapping[str, Compiled]) -> Iterator[tuple[str, Row]]:
        """Times the calls that could be compiled.

        Args:
            ready: Compiled calls by name.

        Yields:
            Section of the report, and a row for it.
        """


def run_stages(stages: Sequence[Sequence[Study]], report: Report, deadline: float) -> bool:
    """Measures stage after stage, until all is done or the time is used up.

    Args:
        stages: Stages of studies, the most important first. A study is dropped, with all that it holds, when its
            stage is done.
        report: Receives the rows, and what was left out and why.
        deadline: Time at which to stop, on the clock of `time.monotonic`.

    Returns:
        False if threads may still be compiling, which nothing can stop; else True.
    """
    remaining = list(stages)
    while remaining:
        stage = remaining.pop(0)
        if time.monotonic() > deadline - RESERVE:
            _leave_out([study for each in (stage, *remaining) for study in each], report, "no time was left")
            break
        in_time = _run_stage(stage, report, deadline)
        gc.collect()  # Executors are in reference cycles, which hold the weights.
        if not in_time:
            _leave_out([study for each in remaining for study in each], report, "no time was left")
            return False
    return True


def _run_stage(stage: Sequence[Study], report: Report, deadline: float) -> bool:
    """Compiles and measures a stage; returns whether all of it was compiled in time."""
    waiting = {study.name: _start(_compile_parts, study) for study in stage}
    wait(waiting.values(), timeout=max(deadline - RESERVE - time.monotonic(), 0.0))
    in_time = True
    made: dict[str, dict[str, Future[Compiled]]] = {}
    for study in stage:
        future = waiting[study.name]
        if not future.done() or future.exception() is not None:
            report.leave_out(study.name, _reason(future))
            in_time &= future.done()
            continue
        made[study.name] = future.result()
    wait(
        [future for parts in made.values() for future in parts.values()],
        timeout=max(deadline - RESERVE - time.monotonic(), 0.0),
    )
    for study in stage:
        ready = {}
        for part, future in made.get(study.name, {}).items():
            if future.done() and future.exception() is None:
                ready[part] = future.result()
            else:
                report.leave_out(f"{study.name}: {part}", _reason(future))
                in_time &= future.done()
        if not ready:
            continue
        if time.monotonic() > deadline:
            report.leave_out(study.name, "no time was left to measure it")
            continue
        try:
            for section, row in study.rows(ready):
                report.add(section, row if in_time else row | {"beside_compilation": True})
        except Exception as error:
            report.leave_out(study.name, _sentence(error))
    return in_time


def _compile_parts(study: Study) -> dict[str, "Future[Compiled]"]:
    return {name: _start(_compile, make) for name, make in study.parts().items()}


def _compile(make: Callable[[], Callable[[], Any]]) -> Compiled:
    start = time.perf_counter()
    call = make()
    jax.block_until_ready(call())
    return Compiled(call, time.perf_counter() - start)


def _start(function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
    """Runs a function on a daemon thread, which does not keep the process from ending."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _leave_out(studies: Sequence[Study], report: Report, why: str) -> None:
    for study in studies:
        report.leave_out(study.name, why)


def _reason(future: "Future[Any]") -> str:
    if not future.done():
        return "it was still being compiled when the time was used up"
    error = future.exception()
    assert error is not None
    return _sentence(error)


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".split("\n")[0][:300]
