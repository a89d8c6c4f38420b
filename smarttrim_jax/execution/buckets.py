"""Which sizes programs are compiled for: rungs of a ladder at first, then more and more those that exist already."""

import dataclasses
import math
from collections.abc import Sequence

from smarttrim_jax.execution.config import ExecutionConfig
from smarttrim_jax.tokens.rounding import ladder, smallest_rung


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Memory for the tokens of one side.

    Attributes:
        packed_length: For how many tokens of the whole batch.
        row_capacity: For how many of any example.
    """

    packed_length: int
    row_capacity: int


@dataclasses.dataclass(frozen=True)
class Occupancy:
    """What one side holds before a stage.

    Attributes:
        shape: Examples, and tokens of each at first.
        bucket: Where they are.
        total: Open tokens of the batch.
        longest: Open tokens of its longest example.
    """

    shape: tuple[int, int]
    bucket: Bucket
    total: int
    longest: int

    def fits(self, bucket: Bucket) -> bool:
        """Whether a bucket holds all open tokens."""
        return self.total <= bucket.packed_length and self.longest <= bucket.row_capacity

    def smallest(self, config: ExecutionConfig) -> Bucket:
        """The smallest bucket of the ladder that holds them; the one where they are, if little would be gained."""
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
        """What holds them whatever is open."""
        batch, length = self.shape
        return Bucket(batch * length, length)


class Buckets:
    """The sizes that every stage's programs are compiled for, for batches of one number of examples.

    As the number of compiled buckets nears `max_buckets`, larger ones are accepted instead of compiling new ones (the
    accepted waste grows with the square of the used share). Beyond it any that fits is taken, and only where there is
    none the largest is added.

    Args:
        config: Growth of the ladders, and `max_buckets`.

    Attributes:
        is_unbounded: Whether there is no bound, as while warming up.
    """

    def __init__(self, config: ExecutionConfig):
        self.is_unbounded = False
        self._config = config
        self._known: dict[str, list[tuple[Bucket, ...]]] = {}

    def choose(self, stage: str, sides: Sequence[Occupancy]) -> tuple[Bucket, ...]:
        """Chooses a bucket for each side.

        Args:
            stage: The stage whose programs will run.
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
    return sum(bucket.packed_length for bucket in buckets)
