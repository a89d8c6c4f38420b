"""Rounding of counts up to a short list of sizes, so that few programs are compiled."""

import functools


def round_up(count: float, multiple: int) -> int:
    """Rounds a count up to a multiple; the result is at least one multiple, because no array here may be empty.

    Args:
        count: The count; a fraction of 1 is cut off first.
        multiple: The step of the result.

    Returns:
        The smallest positive multiple of `multiple` that is at least `int(count)`.
    """
    return -(-max(int(count), 1) // multiple) * multiple


@functools.cache
def ladder(most: int, growth: float, multiple: int) -> tuple[int, ...]:
    """Lists sizes that shrink geometrically from the largest one, rounded up to multiples.

    Args:
        most: The largest size; it is used as it is, even if it is no multiple.
        growth: The ratio between one size and the next smaller one, above 1.
        multiple: All sizes but the largest are multiples of this.

    Returns:
        Distinct sizes in ascending order; the last one is `most`.
    """
    rungs, size = [most], float(most)
    while size > multiple:
        size /= growth
        rung = round_up(size, multiple)
        if rung < rungs[-1]:
            rungs.append(rung)
    return tuple(reversed(rungs))


def smallest_rung(count: int, rungs: tuple[int, ...]) -> int:
    """Finds the smallest size that holds a count.

    Args:
        count: The number of entries to hold.
        rungs: Available sizes in ascending order, as `ladder` makes them.

    Returns:
        The first size that is at least `count`.

    Raises:
        StopIteration: `count` exceeds the largest size.
    """
    return next(rung for rung in rungs if rung >= count)
