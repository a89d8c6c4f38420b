"""Collective operations of a compiled program per chip: how often they run and what they move, from its HLO text."""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator

from smarttrim_jax.ahead_of_time.hlo_text import BITS, read_lines

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_OPERATION = re.compile(r"^\s+(?:ROOT )?%?[\w.-]+ = (.+?) ([a-z][\w-]*)\(")
_SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|condition)=%?([\w.-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_GROUPS = re.compile(r"replica_groups=(?:\{\{([\d,]+)\}|\[\d+,(\d+)\]<=)")


@dataclasses.dataclass(frozen=True)
class Collectives:
    """All collectives of one kind, in one run of the program on one chip.

    Attributes:
        kind: Kind of the operation, one of `KINDS`.
        count: Number of operations; those in a loop are counted once per iteration.
        bytes: Bytes that each chip sends (and receives) by the ring algorithms: `(n - 1) / n` of the whole array for
            gathers, scatters and exchanges among n chips, twice that for reductions.
    """

    kind: str
    count: int
    bytes: int


def collectives(hlo: str) -> list[Collectives]:
    """Counts the collectives of a program.

    Args:
        hlo: Text of a compiled program (`jax.stages.Compiled.as_text()`).

    Returns:
        One entry per kind, the most bytes first.
    """
    entry, computations = read_lines(hlo)
    counts: collections.Counter[str] = collections.Counter()
    moved: collections.Counter[str] = collections.Counter()
    for kind, size, times in _walk(entry, computations, 1):
        counts[kind] += times
        moved[kind] += size * times
    return [Collectives(kind, counts[kind], moved[kind]) for kind, _ in moved.most_common()]


def _walk(name: str, computations: dict[str, list[str]], times: int) -> Iterator[tuple[str, int, int]]:
    """Yields kind, bytes and number of runs of every collective in a computation and those it calls."""
    for line in computations.get(name, ()):
        operation = _OPERATION.match(line)
        if operation is None or operation[2].endswith(("-done", "-update")):
            continue
        kind = operation[2].removesuffix("-start")
        if kind in KINDS:
            yield kind, _moved(kind, operation[1], line, started=operation[2] != kind), times
        trips = _TRIPS.search(line)
        called = _CALLED.findall(line)
        if branches := _BRANCHES.search(line):
            called += [branch.strip(" %") for branch in branches[1].split(",")]
        for other in called:
            yield from _walk(other, computations, times * int(trips[1]) if trips else times)


def _moved(kind: str, result: str, line: str, *, started: bool) -> int:
    """Bytes that a chip sends in one run of a collective."""
    groups = _GROUPS.search(line)
    chips = 2 if groups is None else int(groups[2]) if groups[2] else groups[1].count(",") + 1
    size = sum(
        BITS.get(dtype, 32) * math.prod(int(side) for side in sides.split(",") if side) / 8
        for dtype, sides in _SHAPE.findall(result)
    )
    if kind == "collective-permute":
        return round(size / 2 if started else size)
    if kind == "all-reduce":
        return round(2 * size * (chips - 1) / chips)
    if started and kind != "all-to-all":  # The shapes list operand and result; the larger of them counts.
        size *= chips / (chips + 1)
    elif kind == "reduce-scatter":
        size *= chips
    return round(size * (chips - 1) / chips)
