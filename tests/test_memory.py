"""Freed memory is there for the next one who asks, whatever thread that is."""

import subprocess
import sys

import pytest

# Four threads one after another write to a block of 96 MiB each, more than a thread's own arena holds.
FAULTS = """
import ctypes, resource, sys, threading
from smarttrim_jax.memory import keep_freed_memory

if sys.argv[1] == "kept" and not keep_freed_memory():
    sys.exit("not glibc")
libc, size = ctypes.CDLL(None), 96 << 20
libc.malloc.restype, libc.free.argtypes, libc.memset.argtypes = (
    ctypes.c_void_p, [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t])

def use():
    block = libc.malloc(ctypes.c_size_t(size))
    libc.memset(block, 1, size)
    libc.free(block)

faults = []
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(faults[1:]), max(faults[1:]))
"""


def _faults(mode: str) -> tuple[int, int]:
    """The fewest and the most page faults of a thread after the first."""
    ended = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, check=False)
    if "not glibc" in ended.stderr:
        pytest.skip("only glibc can be told to keep freed memory")
    fewest, most = ended.stdout.split()
    return int(fewest), int(most)


def test_blocks_are_fetched_from_the_system_once():
    kept, plain = _faults("kept"), _faults("plain")
    assert 50 * kept[1] < plain[0]
