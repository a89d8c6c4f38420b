"""Scratch memory that stays: what a program frees is kept for the next one."""

import ctypes
import sys

M_MMAP_MAX, M_TRIM_THRESHOLD, M_ARENA_MAX = -4, -1, -8
NEVER = -1  # the largest int would be 2 GiB, and a training step frees more


def keep_freed_memory() -> bool:
    """Tells glibc to give no memory back to the system, for the rest of the process.

    On a CPU every program allocates its scratch anew. Large blocks would each time be fetched from the system and
    returned to it, which costs a page fault for every 4 KiB: a tenth of the time of inference, a quarter of a
    training step's. Call it before threads start (JAX's do with its first array), which would bring arenas of their
    own, and leave it out where the process shares a tight machine.

    Returns:
        Whether it took effect; elsewhere than on glibc nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # One arena: those of single threads hold blocks of 64 MiB at most, and fetch larger ones from the system.
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: NEVER, M_ARENA_MAX: 1}
    taken = [mallopt(name, value) for name, value in settings.items()]
    return all(taken)
