"""How a model's stages are executed when closed tokens leave memory."""

import dataclasses
import sys
from typing import Annotated

import jax

from smarttrim_jax.configuration import Settings
from smarttrim_jax.ranges import NonNegativeInt, PositiveInt, ShareBelowOne, between

Growth = Annotated[float, between(1.001, 1000)]
"""Ratio of neighbouring rungs: nearer to 1 a ladder takes millions of them."""


@dataclasses.dataclass(frozen=True)
class ExecutionConfig(Settings):
    """How kept tokens are packed.

    Attributes:
        every: Layers between two points where closed tokens leave memory.
        line_growth: Ratio between neighbouring sizes of the line that holds a batch's tokens.
        places_growth: Ratio between neighbouring widths of the rows that attention works on.
        multiple: All sizes are multiples of it; 0 takes 128 on TPUs and 8 elsewhere.
        gain: A compaction must shorten the line by at least this share.
        group_heads: Batches of at most so many examples run a layer with the weights of those heads alone that any
            of them opens; these are copied first.
        sizes: Sizes that all stages together are compiled for, for batches of one number of examples; beyond it they
            share what exists, and only where nothing is large enough one more is added. A size takes one program for
            layers with another behind them, and one for a last layer.
        piece: Numbers on a side's line (tokens times width) that are worked on at once; larger batches run in pieces.
            0 takes 2^21 on CPUs, whose caches hold no more, and no bound elsewhere.
    """

    every: PositiveInt = 1
    line_growth: Growth = 1.03
    places_growth: Growth = 1.2
    multiple: NonNegativeInt = 0
    gain: ShareBelowOne = 0.02
    group_heads: NonNegativeInt = 1
    sizes: PositiveInt = 8
    piece: NonNegativeInt = 0

    @property
    def rounding(self) -> int:
        """`multiple`, for this process's device if none was asked for."""
        return self.multiple or (128 if jax.default_backend() == "tpu" else 8)

    @property
    def numbers_at_once(self) -> int:
        """`piece`, for this process's device if none was asked for."""
        return self.piece or (2**21 if jax.default_backend() == "cpu" else sys.maxsize)
