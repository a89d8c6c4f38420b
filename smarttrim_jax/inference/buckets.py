"""Counts rounded up to a short ladder, so that few programs are compiled."""

import dataclasses
import functools

from smarttrim_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class ExecutionConfig:
    """How kept tokens are packed.

    Attributes:
        every: layers between two points where closed tokens leave memory.
        line_growth: ratio between neighbouring sizes of the line that holds a batch's tokens.
        places_growth: ratio between neighbouring widths of the rows that attention works on.
        multiple: all sizes are multiples of it; 128 suits TPUs.
        gain: a compaction must shorten the line by at least this share.
        sizes: that all stages together are compiled for, for batches of one number of examples; beyond it these
            share what exists, and only where nothing is large enough one more is added. A size takes one program for
            layers with another behind them, and one for a last layer.
    """

    every: int = 1
    line_growth: float = 1.06
    places_growth: float = 1.2
    multiple: int = 8
    gain: float = 0.02
    sizes: int = 8

    def __post_init__(self) -> None:
        if min(self.every, self.multiple, self.sizes) < 1:
            raise ConfigError(
                f"every is {self.every}, multiple {self.multiple}, sizes {self.sizes}; all must be at least 1"
            )
        if min(self.line_growth, self.places_growth) <= 1:
            raise ConfigError("line_growth and places_growth must be above 1")


def round_up(count: float, multiple: int) -> int:
    """The whole part of a count, up to the next multiple."""
    return -(-int(count) // multiple) * multiple


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


def bucket(count: int, rungs: tuple[int, ...]) -> int:
    """The lowest rung that holds `count`."""
    return next(rung for rung in rungs if rung >= count)
