"""Timing on noisy machines: functions that are compared are timed in alternation, and medians are reported."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds that the calls of a function took.

    Attributes:
        first: Seconds of the first call, which compiles.
        later: Seconds of each later call.
    """

    first: float
    later: list[float]

    @property
    def median(self) -> float:
        """Median seconds of the later calls."""
        return float(np.median(self.later))

    @property
    def spread(self) -> float:
        """Interquartile range of the later calls, divided by their median."""
        return float(np.subtract(*np.percentile(self.later, [75, 25]))) / self.median


def time_by_turns(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Timing]:
    """Times functions in alternation: each once to compile, then `repeats` times.

    Args:
        functions: Functions by name; their results are waited for.
        repeats: Number of timed calls of each.

    Returns:
        Seconds of the calls, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            seconds[name].append(time.perf_counter() - start)
    return {name: Timing(first, later) for name, (first, *later) in seconds.items()}


def queued_seconds(function: Callable[[], Any], calls: int) -> float:
    """Measures seconds per call where no call waits for the previous one: the time of the slower of host and device.

    Args:
        function: Compiled function; only the result of the last call is waited for.
        calls: Number of queued calls.

    Returns:
        Seconds per call.
    """
    jax.block_until_ready(function())
    start = time.perf_counter()
    for _ in range(calls):
        last = function()
    jax.block_until_ready(last)
    return (time.perf_counter() - start) / calls


def matmul(dtype: Any = jnp.float32, size: int = 4096) -> tuple[Callable[[], jax.Array], int]:
    """Builds a large matrix product, to measure the peak rate of the machine.

    Args:
        dtype: Dtype of the matrices.
        size: Rows and columns.

    Returns:
        A function that computes the product, and its number of multiply-adds.
    """
    matrix = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(jnp.dot)
    return lambda: product(matrix, matrix), size**3
