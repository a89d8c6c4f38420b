"""Time in which the device works during a call; the rest of the call's time is spent by the host."""

import pathlib
import tempfile
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax

from smarttrim_jax.benchmarking.measurement import queued_seconds

PROFILED, QUEUED = 2, 10
"""Number of calls in a profile, and in a queue."""


class DeviceTime(NamedTuple):
    """What is known of the device's time in a call.

    Attributes:
        queued: Seconds per call of many queued ones: the time of the slower of host and device.
        seconds: Seconds per call in which the device works.
        source: "profile", or "queue" where the profiler shows no streams; `seconds` then equals `queued`.
    """

    queued: float
    seconds: float
    source: str


def device_time(function: Callable[[], Any], *, profile: bool = True) -> DeviceTime:
    """Measures a call that has been compiled.

    The profile shows when kernels and copies run on any of the GPU's streams. The queue is the fallback, and an upper
    bound: for a call of one program it gives the device's time if kernels take longer than their launches; for a call
    that the host leads layer by layer it may give the host's time.

    Args:
        function: Compiled function; its result is waited for.
        profile: Whether to use the profiler.

    Returns:
        Seconds per call, queued and on the device.
    """
    queued = queued_seconds(function, QUEUED)
    busy = _busy_seconds(function) if profile and jax.default_backend() == "gpu" else 0.0
    return DeviceTime(queued, busy, "profile") if busy > 0 else DeviceTime(queued, queued, "queue")


def union_length(intervals: Iterable[tuple[float, float]]) -> float:
    """Computes the length that intervals cover together; overlaps count once.

    Args:
        intervals: Start and end of each interval.

    Returns:
        Total covered length.
    """
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(end - max(start, reached), 0.0)
        reached = max(reached, end)
    return total


def _busy_seconds(function: Callable[[], Any]) -> float:
    """Seconds per call in which any stream of the GPU works; 0 where no profile shows streams."""
    try:
        profiles = _profiles(function)
    except RuntimeError:  # Drivers may deny access to their counters.
        return 0.0
    intervals = [
        (event.start_ns, event.start_ns + event.duration_ns)
        for profile in profiles
        for plane in profile.planes
        if plane.name.startswith("/device:GPU")
        for line in plane.lines
        if (line.name or "").startswith("Stream")
        for event in line.events
    ]
    return union_length(intervals) / 1e9 / PROFILED


def _profiles(function: Callable[[], Any]) -> list[Any]:
    """Profiles of `PROFILED` calls."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0
    options.host_tracer_level = 0
    options.enable_hlo_proto = False
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            for _ in range(PROFILED):
                jax.block_until_ready(function())
        files = sorted(pathlib.Path(folder).rglob("*.xplane.pb"))
        return [jax.profiler.ProfileData.from_file(str(file)) for file in files]
