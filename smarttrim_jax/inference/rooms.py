"""Which sizes programs are compiled for: rungs of a ladder at first, then more and more those that exist already."""

import dataclasses
import math
from collections.abc import Sequence

from smarttrim_jax.models.execution import ExecutionConfig
from smarttrim_jax.tokens.buckets import bucket, ladder


@dataclasses.dataclass(frozen=True)
class Room:
    """Memory for the tokens of one side.

    Attributes:
        line: for so many tokens of the whole batch.
        places: for so many of any example.
    """

    line: int
    places: int


@dataclasses.dataclass(frozen=True)
class Occupancy:
    """What one side holds before a stage.

    Attributes:
        shape: examples, and tokens of each at first.
        room: where they are.
        total: open tokens of the batch.
        longest: open tokens of its longest example.
    """

    shape: tuple[int, int]
    room: Room
    total: int
    longest: int

    def fits(self, room: Room) -> bool:
        """Whether all open tokens find a place there."""
        return self.total <= room.line and self.longest <= room.places

    def smallest(self, config: ExecutionConfig) -> Room:
        """The lowest rung that holds them; the room where they are, if little would be gained."""
        batch, length = self.shape
        line = bucket(self.total, ladder(batch * length, config.line_growth, config.rounding))
        if line > (1 - config.gain) * self.room.line:
            return self.room
        if batch == 1:
            return Room(line, line)
        return Room(line, bucket(self.longest, ladder(length, config.places_growth, config.rounding)))

    @property
    def largest(self) -> Room:
        """What holds them whatever is open."""
        batch, length = self.shape
        return Room(batch * length, length)


class Rooms:
    """The sizes that every stage's programs are compiled for, for batches of one number of examples.

    The nearer the budget, the more room a batch may waste for the sake of one that exists; beyond the budget it takes
    any that exists, and only where there is none the largest.

    Args:
        config: with ladder and budget.

    Attributes:
        is_open: whether there is no budget, as while warming up.
    """

    def __init__(self, config: ExecutionConfig):
        self.is_open = False
        self._config = config
        self._known: dict[str, list[tuple[Room, ...]]] = {}

    def choose(self, stage: str, sides: Sequence[Occupancy]) -> tuple[Room, ...]:
        """A room for each side.

        Args:
            stage: which programs will run.
            sides: what they will be given.
        """
        known = self._known.setdefault(stage, [])
        wanted = tuple(side.smallest(self._config) for side in sides)
        if wanted in known:
            return wanted
        used = 0.0 if self.is_open else sum(map(len, self._known.values())) / self._config.sizes
        most = math.inf if used >= 1 else (1 + used**2 / 2) * _size(wanted)
        fitting = [
            rooms
            for rooms in known
            if _size(rooms) <= most and all(side.fits(room) for side, room in zip(sides, rooms, strict=True))
        ]
        if fitting:
            return min(fitting, key=_size)
        chosen = wanted if used < 1 else tuple(side.largest for side in sides)
        known.append(chosen)
        return chosen


def _size(rooms: Sequence[Room]) -> int:
    return sum(room.line for room in rooms)
