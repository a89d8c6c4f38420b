"""Counts rounded up to a short ladder, so that few programs are compiled."""

import functools


def round_up(count: float, multiple: int) -> int:
    """The whole part of a count, up to the next multiple; at least one, since nothing holds no token."""
    return -(-max(int(count), 1) // multiple) * multiple


@functools.cache
def ladder(most: int, growth: float, multiple: int) -> tuple[int, ...]:
    """The rungs from `most` down, each at most `1 / growth` of the one above, in multiples; ascending."""
    rungs, size = [most], float(most)
    while size > multiple:
        size /= growth
        rung = round_up(size, multiple)
        if rung < rungs[-1]:
            rungs.append(rung)
    return tuple(reversed(rungs))


def smallest_rung(count: int, rungs: tuple[int, ...]) -> int:
    """The lowest rung that holds `count`."""
    return next(rung for rung in rungs if rung >= count)
