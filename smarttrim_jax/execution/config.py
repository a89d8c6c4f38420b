"""The configuration of executions."""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Annotated, ClassVar

import jax

from smarttrim_jax.configuration import Settings
from smarttrim_jax.execution.base import ExecutionName
from smarttrim_jax.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt, ShareBelowOne, between

Growth = Annotated[float, between(1.001, 1000)]
"""The ratio of neighbouring sizes of a ladder; the nearer it is to 1, the more sizes the ladder has."""


@dataclasses.dataclass(frozen=True)
class CutConfig(Settings):
    """How many cuts and branches a program has, each of which is compiled, and when they are chosen.

    Attributes:
        first: Batches that run padded, with closed tokens masked, until their examples tell where cuts pay. So few
            are not worth the compilation.
        most: Largest number of cuts.
        branches: Branches of each cut, beside the one that holds everything.
        gain: Share of the model's work that a further cut must save.
        margin: How much more than the drawn batches kept a branch holds.
    """

    first: PositiveInt = 8
    most: NonNegativeInt = 4
    branches: PositiveInt = 3
    gain: ShareBelowOne = 0.02
    margin: NonNegativeFloat = 0.05


@dataclasses.dataclass(frozen=True)
class ExecutionConfig(Settings):
    """How batches are executed, and how kept tokens are packed.

    Attributes:
        name: "padded", "packed" (led by the host), "one_program", or "auto", which chooses by batch size and device.
        every: Number of layers between two points where closed tokens are removed from memory.
        length_growth: Ratio between neighbouring packed lengths, for the tokens of the whole batch.
        capacity_growth: Ratio between neighbouring row capacities, for the tokens of one example in attention.
        multiple: All sizes are multiples of it; 0 takes 128 on TPUs and 8 elsewhere.
        gain: A compaction must shorten the packed length by at least this share.
        group_heads: Batches of at most so many examples run each layer with the weights of only those heads that any
            example opens; these weights are copied first.
        max_buckets: Upper bound on the (packed length, row capacity) pairs that all stages together are compiled for,
            per batch size. Once it is reached, batches use the smallest existing bucket that fits, and only where
            none fits the largest is added. A bucket takes one program for layers with another layer after them, and
            one for a last layer.
        microbatch: Numbers of a side (tokens times width) that are computed at once; larger batches run in
            microbatches. 0 takes 2^21 on CPUs, whose caches hold no more, and no bound elsewhere.
        cuts: Where closed tokens leave memory in execution as one program.
    """

    FORMER_KEYS: ClassVar[Mapping[str, str]] = {
        "line_growth": "length_growth",
        "places_growth": "capacity_growth",
        "sizes": "max_buckets",
        "piece": "microbatch",
    }

    name: ExecutionName = "auto"
    every: PositiveInt = 1
    length_growth: Growth = 1.03
    capacity_growth: Growth = 1.2
    multiple: NonNegativeInt = 0
    gain: ShareBelowOne = 0.02
    group_heads: NonNegativeInt = 1
    max_buckets: PositiveInt = 8
    microbatch: NonNegativeInt = 0
    cuts: CutConfig = CutConfig()

    @property
    def rounding(self) -> int:
        """`multiple`, or this device's default if it is 0."""
        return self.multiple or (128 if jax.default_backend() == "tpu" else 8)

    @property
    def numbers_at_once(self) -> int:
        """`microbatch`, or this device's default if it is 0."""
        return self.microbatch or (2**21 if jax.default_backend() == "cpu" else sys.maxsize)
