"""The choice of buckets, the sizes that programs are compiled for.

At first a batch gets the smallest size of a ladder that holds its tokens; the more sizes are compiled, the more it is
given one that exists already.
"""

import dataclasses
import math
from collections.abc import Sequence

from smarttrim_jax.execution.config import ExecutionConfig
from smarttrim_jax.tokens.rounding import ladder, smallest_rung


@dataclasses.dataclass(frozen=True)
class Bucket:
    """The sizes of packed memory for the tokens of one side.

    Attributes:
        packed_length: Number of tokens of the whole batch that it holds.
        row_capacity: Number of tokens of any single example that it holds.
    """

    packed_length: int
    row_capacity: int


@dataclasses.dataclass(frozen=True)
class Occupancy:
    """What one side holds before a stage.

    Attributes:
        shape: Number of examples, and of original tokens per example.
        bucket: The bucket that the side is in.
        total: Open tokens of the batch.
        longest: Open tokens of the example that has the most.
    """

    shape: tuple[int, int]
    bucket: Bucket
    total: int
    longest: int

    def fits(self, bucket: Bucket) -> bool:
        """Tells whether a bucket holds all open tokens.

        Args:
            bucket: The bucket.

        Returns:
            Whether both of its sizes suffice.
        """
        return self.total <= bucket.packed_length and self.longest <= bucket.row_capacity

    def smallest(self, config: ExecutionConfig) -> Bucket:
        """Returns the smallest bucket of the ladder that holds the open tokens.

        Args:
            config: Growth of the ladders, and the least share of the packed length that a compaction must save.

        Returns:
            The bucket; the present one if a compaction would save too little.
        """
        batch, length = self.shape
        packed_length = smallest_rung(self.total, ladder(batch * length, config.length_growth, config.rounding))
        if packed_length > (1 - config.gain) * self.bucket.packed_length:
            return self.bucket
        if batch == 1:
            return Bucket(packed_length, packed_length)
        row_capacity = smallest_rung(self.longest, ladder(length, config.capacity_growth, config.rounding))
        return Bucket(packed_length, row_capacity)

    @property
    def largest(self) -> Bucket:
        """The bucket that holds the side's tokens even if all of them are open."""
        batch, length = self.shape
        return Bucket(batch * length, length)


class Buckets:
    """The buckets that each stage's programs are compiled for, for batches with a given number of examples.

    As the number of compiled buckets nears `max_buckets`, larger buckets are accepted instead of compiling new ones
    (the accepted waste grows with the square of the used share). Once it is reached, any compiled bucket that fits is
    taken, and only if there is none the largest possible one is added.

    Args:
        config: Growth of the ladders, and `max_buckets`.

    Attributes:
        is_unbounded: Whether the bound is ignored, as during warm-up.
    """

    def __init__(self, config: ExecutionConfig):
        self.is_unbounded = False
        self._config = config
        self._known: dict[str, list[tuple[Bucket, ...]]] = {}

    def choose(self, stage: str, sides: Sequence[Occupancy]) -> tuple[Bucket, ...]:
        """Chooses a bucket for each side.

        Args:
            stage: Name of the stage whose programs will run.
            sides: What each side holds.

        Returns:
            The buckets, in the order of the sides.
        """
        known = self._known.setdefault(stage, [])
        wanted = tuple(side.smallest(self._config) for side in sides)
        if wanted in known:
            return wanted
        used = 0.0 if self.is_unbounded else sum(map(len, self._known.values())) / self._config.max_buckets
        most = math.inf if used >= 1 else (1 + used**2 / 2) * _size(wanted)
        fitting = [
            buckets
            for buckets in known
            if _size(buckets) <= most and all(side.fits(bucket) for side, bucket in zip(sides, buckets, strict=True))
        ]
        if fitting:
            return min(fitting, key=_size)
        chosen = wanted if used < 1 else tuple(side.largest for side in sides)
        known.append(chosen)
        return chosen


def _size(buckets: Sequence[Bucket]) -> int:
    """The packed length of all sides together."""
    return sum(bucket.packed_length for bucket in buckets)
