"""Commands in processes of their own, all forked from one that has imported what they need."""

import importlib.util
import multiprocessing
import os
import pathlib
import runpy
import sys
import types
from collections.abc import Callable
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
WORK_BEGINS = 77
"""Exit status of a command that was only run up to its work."""


def module_of(path: pathlib.Path) -> types.ModuleType:
    """A Python file outside of packages as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command_server(*more: str) -> Any:
    """What starts processes that have imported the library already.

    Args:
        more: Further modules to import.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["smarttrim_jax.training.run", "smarttrim_jax.benchmarking.speed_report", *more])
    return server


def run_forked(
    server: Any, module: str, words: list[str], stderr: pathlib.Path, before: Callable[[], None] | None = None
) -> tuple[int | None, str]:
    """Runs a command to its end, and returns its exit status and what it said on standard error.

    What it printed is in a file beside, with the suffix ".stdout".

    Args:
        server: From `command_server`.
        module: What `python -m` would run.
        words: Its command line.
        stderr: File for what it says.
        before: Is called in the process first.
    """
    process = server.Process(target=_run, args=(module, words, stderr, before))
    process.start()
    process.join(timeout=120)
    return process.exitcode, stderr.read_text(errors="replace")


def stop_at_work() -> None:
    """Lets the commands of this process exit where their work would begin."""
    from smarttrim_jax.ahead_of_time import inference_work, report
    from smarttrim_jax.benchmarking import host_share, speed_report, step_speed
    from smarttrim_jax.training import run

    def begin(*args: Any, **kwargs: Any) -> None:
        os._exit(WORK_BEGINS)

    run.train = report.report_slice = inference_work.inference_work = begin
    speed_report.measure_forced = step_speed.measure_steps = host_share.measure_host = begin


def _run(module: str, words: list[str], stderr: pathlib.Path, before: Callable[[], None] | None) -> None:
    """What `python -m` does."""
    if before is not None:
        before()
    for number, file in ((1, stderr.with_suffix(".stdout")), (2, stderr)):
        os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY), number)
    os.chdir(ROOT)
    sys.argv = [f"{module.replace('.', '/')}.py", *words]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
