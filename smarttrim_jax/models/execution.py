"""How a model's stages are executed when closed tokens leave memory."""

import dataclasses
import sys

import jax

from smarttrim_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class ExecutionConfig:
    """How kept tokens are packed.

    Attributes:
        every: layers between two points where closed tokens leave memory.
        line_growth: ratio between neighbouring sizes of the line that holds a batch's tokens.
        places_growth: ratio between neighbouring widths of the rows that attention works on.
        multiple: all sizes are multiples of it; 0 takes 128 on TPUs and 8 elsewhere.
        gain: a compaction must shorten the line by at least this share.
        group_heads: batches of at most so many examples run a layer with the weights of those heads alone that any
            of them opens; these are copied first.
        sizes: that all stages together are compiled for, for batches of one number of examples; beyond it these
            share what exists, and only where nothing is large enough one more is added. A size takes one program for
            layers with another behind them, and one for a last layer.
        piece: numbers on a side's line (tokens times width) that are worked on at once; larger batches run in pieces.
            0 takes 2^21 on CPUs, whose caches hold no more, and no bound elsewhere.
    """

    every: int = 1
    line_growth: float = 1.03
    places_growth: float = 1.2
    multiple: int = 0
    gain: float = 0.02
    group_heads: int = 1
    sizes: int = 8
    piece: int = 0

    def __post_init__(self) -> None:
        if min(self.every, self.sizes) < 1 or min(self.multiple, self.piece) < 0:
            raise ConfigError(
                f"every is {self.every}, sizes {self.sizes} (both must be at least 1), multiple {self.multiple}, "
                f"piece {self.piece} (must not be negative)"
            )
        if min(self.line_growth, self.places_growth) <= 1:
            raise ConfigError("line_growth and places_growth must be above 1")

    @property
    def rounding(self) -> int:
        """`multiple`, for this process's device if none was asked for."""
        return self.multiple or (128 if jax.default_backend() == "tpu" else 8)

    @property
    def numbers_at_once(self) -> int:
        """`piece`, for this process's device if none was asked for."""
        return self.piece or (2**21 if jax.default_backend() == "cpu" else sys.maxsize)
