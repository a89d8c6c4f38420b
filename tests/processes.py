"""Runs Python in several processes that join to one run, each with CPU devices of its own."""

import os
import pathlib
import socket
import subprocess
import sys
from typing import NamedTuple

import smarttrim_jax

ROOT = pathlib.Path(smarttrim_jax.__file__).parents[1]


class Ended(NamedTuple):
    """How a process ended, and what it wrote."""

    status: int
    stdout: str
    stderr: str


def start_together(*arguments: str, processes: int = 2, devices: int = 1) -> list[subprocess.Popen[str]]:
    """Starts `python ARGUMENTS` as many times."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    started = []
    for process in range(processes):
        environment = os.environ | {
            # The tests' folder holds what stands for a user's package.
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]),
            "JAX_PLATFORMS": "cpu",
            "JAX_NUM_CPU_DEVICES": str(devices),
        }
        if processes > 1:
            environment |= {
                "JAX_COORDINATOR_ADDRESS": address,
                "JAX_NUM_PROCESSES": str(processes),
                "JAX_PROCESS_ID": str(process),
            }
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, **pipes))
    return started


def wait_for(started: list[subprocess.Popen[str]]) -> list[Ended]:
    """Waits for all; none outlives the others' time."""
    try:
        outputs = [process.communicate(timeout=1500) for process in started]
    finally:
        for process in started:
            process.kill()
    return [Ended(process.returncode, *output) for process, output in zip(started, outputs, strict=True)]


def run_together(*arguments: str, processes: int = 2, devices: int = 1) -> list[Ended]:
    """Starts `python ARGUMENTS` as many times, and waits for all."""
    return wait_for(start_together(*arguments, processes=processes, devices=devices))
