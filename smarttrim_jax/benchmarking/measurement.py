"""Clocks that a noisy machine does not fool: everything compared is timed by turns, and medians are quoted."""

import dataclasses
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Timing:
    """The seconds that calls of a function took.

    Attributes:
        first: of the call that compiles.
        later: of the others.
    """

    first: float
    later: list[float]

    @property
    def median(self) -> float:
        """Of the later calls."""
        return float(np.median(self.later))

    @property
    def spread(self) -> float:
        """The range of their middle half, over their median."""
        return float(np.subtract(*np.percentile(self.later, [75, 25]))) / self.median


def time_by_turns(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Timing]:
    """Times functions in turn: each once to compile, then `repeats` times.

    Args:
        functions: by name; what they return is waited for.
        repeats: timed calls of each.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            seconds[name].append(time.perf_counter() - start)
    return {name: Timing(first, later) for name, (first, *later) in seconds.items()}


def queued_seconds(function: Callable[[], Any], calls: int) -> float:
    """Seconds per call where no call waits for the one before: those of the slower of host and device.

    Args:
        function: What it returns is waited for once, behind the last call.
        calls: Calls in the queue.
    """
    jax.block_until_ready(function())
    start = time.perf_counter()
    for _ in range(calls):
        last = function()
    jax.block_until_ready(last)
    return (time.perf_counter() - start) / calls


def matmul(dtype: Any = jnp.float32, size: int = 4096) -> tuple[Callable[[], jax.Array], int]:
    """A large matrix product, and its multiply-adds: what the machine can do at best."""
    matrix = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(jnp.dot)
    return lambda: product(matrix, matrix), size**3


def describe_machine() -> dict[str, Any]:
    """What the figures were measured on."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "devices": jax.device_count(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
