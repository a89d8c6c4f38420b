"""Clocks that a noisy machine does not fool: everything compared is timed by turns, and medians are quoted."""

import os
import platform
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def time_by_turns(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every call, the functions called in turn `repeats` times after one call that compiles.

    Args:
        functions: by name; what they return is waited for.
        repeats: timed calls of each.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            start = time.perf_counter()
            jax.block_until_ready(function())
            if turn > 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def matmul(dtype: Any = jnp.float32, size: int = 4096) -> tuple[Callable[[], jax.Array], int]:
    """A large matrix product, and its multiply-adds: what the machine can do at best."""
    matrix = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(jnp.dot)
    return lambda: product(matrix, matrix), size**3


def median(seconds: list[float]) -> float:
    """The median."""
    return float(np.median(seconds))


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
