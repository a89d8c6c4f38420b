"""Collective operations of a compiled program per chip: how often they run and what they move, from its HLO text."""

import collections
import dataclasses
import re
from collections.abc import Iterator, Mapping

from smarttrim_jax.ahead_of_time.hlo_text import Operation, read_operations, turns

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
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
    entry, computations = read_operations(hlo)
    counts: collections.Counter[str] = collections.Counter()
    moved: collections.Counter[str] = collections.Counter()
    for kind, size, times in _walk(entry, computations, 1):
        counts[kind] += times
        moved[kind] += size * times
    return [Collectives(kind, counts[kind], moved[kind]) for kind, _ in moved.most_common()]


def _walk(
    name: str, computations: Mapping[str, Mapping[str, Operation]], times: int
) -> Iterator[tuple[str, int, int]]:
    """Yields kind, bytes and number of runs of every collective in a computation and those it calls."""
    for operation in computations.get(name, {}).values():
        if operation.kind.endswith(("-done", "-update")):
            continue
        kind = operation.kind.removesuffix("-start")
        if kind in KINDS:
            yield kind, _moved(kind, operation, started=operation.kind != kind), times
        repeated = turns(operation, computations) if operation.kind == "while" else 1
        for other in (*operation.called, *operation.branches):
            yield from _walk(other, computations, times * repeated)


def _moved(kind: str, operation: Operation, *, started: bool) -> int:
    """Bytes that a chip sends in one run of a collective."""
    groups = _GROUPS.search(operation.attributes)
    chips = 2 if groups is None else int(groups[2]) if groups[2] else groups[1].count(",") + 1
    size: float = sum(array.bytes for array in operation.arrays)
    if kind == "collective-permute":
        return round(size / 2 if started else size)
    if kind == "all-reduce":
        return round(2 * size * (chips - 1) / chips)
    if started and kind != "all-to-all":  # The shapes list operand and result; the larger of them counts.
        size *= chips / (chips + 1)
    elif kind == "reduce-scatter":
        size *= chips
    return round(size * (chips - 1) / chips)
