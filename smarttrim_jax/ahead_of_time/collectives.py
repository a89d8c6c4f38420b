"""Collective operations of a compiled program per chip: how often they run and what they move, from its HLO text."""

import collections
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

from smarttrim_jax.ahead_of_time.hlo_text import Operation, read_operations, turns
from smarttrim_jax.errors import ConfigError

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_CHAIN = re.compile(r'\bchain_id="(\d+)"')
_GROUPS = re.compile(r"replica_groups=(?:\{\{([\d,]+)\}|\[\d+,(\d+)\]<=|mesh\[([^\]]*)\] ?\{([^}]*)\})")
_AXIS = re.compile(r"'([^']+)'=(\d+)")
_OVER = re.compile(r"'([^']+)'(?::\(\d+\)(\d+))?")


@dataclasses.dataclass(frozen=True)
class Collectives:
    """All collectives of one kind, in one run of the program on one chip.

    Attributes:
        kind: Kind of the operation, one of `KINDS`.
        count: Number of operations; those in a loop are counted once per iteration, and those that a TPU's compiler
            cuts into pieces, to move them while it computes, once for all pieces.
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
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for number, (operation, times) in enumerate(_walk(entry, computations, 1)):
        kind = operation.kind.removesuffix("-start")
        # Each piece of a chain is written as the whole collective, and may lie in a loop behind the chain's start.
        chain = _CHAIN.search(operation.attributes)
        one = kind, chain[1] if chain else f"alone, {number}"
        size = _moved(kind, operation, started=operation.kind != kind)
        found[one] = size, min(times, found[one][1]) if one in found else times
    counts: collections.Counter[str] = collections.Counter()
    moved: collections.Counter[str] = collections.Counter()
    for (kind, _), (size, times) in found.items():
        counts[kind] += times
        moved[kind] += size * times
    return [Collectives(kind, counts[kind], moved[kind]) for kind, _ in moved.most_common()]


def _walk(
    name: str, computations: Mapping[str, Mapping[str, Operation]], times: int
) -> Iterator[tuple[Operation, int]]:
    """Yields every collective in a computation and those it calls, with its number of runs."""
    for operation in computations.get(name, {}).values():
        if operation.kind.endswith(("-done", "-update")):
            continue
        if operation.kind.removesuffix("-start") in KINDS:
            yield operation, times
        repeated = turns(operation, computations) if operation.kind == "while" else 1
        for other in (*operation.called, *operation.branches):
            yield from _walk(other, computations, times * repeated)


def _moved(kind: str, operation: Operation, *, started: bool) -> int:
    """Bytes that a chip sends in one run of a collective."""
    chips = 2 if kind == "collective-permute" else _chips(operation)
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


def _chips(operation: Operation) -> int:
    """The number of chips that take part in one collective together.

    Raises:
        ConfigError: The compiler writes them in a form that is not known.
    """
    groups = _GROUPS.search(operation.attributes)
    if groups is None:
        raise ConfigError(
            f"the chips of the compiled program's {operation.kind} cannot be told from '{operation.attributes[:100]}'"
        )
    listed, size, axes, over = groups.groups()
    if axes is None:
        return int(size) if size else listed.count(",") + 1
    sizes = dict(_AXIS.findall(axes))
    return math.prod(int(part or sizes[name]) for name, part in _OVER.findall(over))
