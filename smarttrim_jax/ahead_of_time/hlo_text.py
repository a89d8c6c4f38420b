"""Compiled programs as text: their computations, operations and arrays."""

import collections
import dataclasses
import functools
import math
import re
from collections.abc import Mapping

BITS = {"pred": 8, "bf16": 16, "token": 0} | {f"{kind}{bits}": bits for kind in "suf" for bits in (4, 8, 16, 32, 64)}
"""Bits of a number by the name of its type."""

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_OPERATION = re.compile(r"^\s+(ROOT )?%?([\w.-]+) = (.+?) ([a-z][\w-]*)\(([^)]*)\)(.*)")
_NAME = re.compile(r"%([\w.-]+)")
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\](?:\{([^}]*)\})?")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|condition)=%?([\w.-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_BRANCHES = re.compile(r"\b(?:branch_computations=\{([^}]*)\}|true_computation=([^,]*), false_computation=([^,]*))")


@dataclasses.dataclass(frozen=True)
class HloArray:
    """An array that an operation makes.

    Attributes:
        sides: Its shape.
        bytes: Its size.
        is_near: Whether the compiler keeps it in the fast memory of the chip, from where reading costs little.
    """

    sides: tuple[int, ...]
    bytes: int
    is_near: bool


@dataclasses.dataclass(frozen=True)
class Operation:
    """One line of a computation.

    Attributes:
        name: Name of the result.
        kind: What it does, for example "fusion".
        result: Type of the result, as text.
        operands: Names of the results that it takes, as far as they are given without their types.
        inside: Text between the brackets, for example the number of a parameter or the value of a constant.
        attributes: The rest of the line.
        is_root: Whether the computation returns its result.
    """

    name: str
    kind: str
    result: str
    operands: tuple[str, ...]
    inside: str
    attributes: str
    is_root: bool

    @functools.cached_property
    def arrays(self) -> list[HloArray]:
        """The arrays of the result: one, or those of a tuple."""
        found = []
        for dtype, sides, layout in _ARRAY.findall(self.result):
            shape = tuple(int(side) for side in sides.split(",") if side)
            found.append(HloArray(shape, math.ceil(BITS.get(dtype, 32) * math.prod(shape) / 8), "S(1)" in layout))
        return found

    @property
    def called(self) -> list[str]:
        """The computations that it runs, without those of which it chooses one."""
        return _CALLED.findall(self.attributes)

    @property
    def branches(self) -> list[str]:
        """The computations of which it chooses one."""
        found = _BRANCHES.search(self.attributes)
        names = ",".join(filter(None, found.groups())) if found else ""
        return [name.strip(" %") for name in names.split(",") if name]


def read_operations(hlo: str) -> tuple[str, dict[str, dict[str, Operation]]]:
    """Reads a program's computations.

    Args:
        hlo: Text of a compiled program (`jax.stages.Compiled.as_text()`).

    Returns:
        The name of the computation that the program begins with, and for every computation its operations by name.
    """
    entry, computations = _lines(hlo)
    return entry, {name: dict(map(_named, filter(None, map(_read, lines)))) for name, lines in computations.items()}


def turns(loop: Operation, computations: Mapping[str, Mapping[str, Operation]]) -> int:
    """Finds how often a loop turns: as the compiler notes, or as its condition compares a counter with a constant.

    Args:
        loop: The operation, of the kind "while".
        computations: The operations of every computation, as `read_operations` returns them.

    Returns:
        The number of turns; 1 if neither says it.
    """
    if noted := _TRIPS.search(loop.attributes):
        return int(noted[1])
    condition = computations[loop.called[0]].values()
    bounds = [int(operation.inside) for operation in condition if operation.kind == "constant"]
    return bounds[0] if len(bounds) == 1 else 1


def _lines(hlo: str) -> tuple[str, dict[str, list[str]]]:
    """The name of the computation that the program begins with, and the lines of every computation by its name."""
    entry = name = ""
    found = collections.defaultdict(list)
    for line in hlo.splitlines():
        if start := _COMPUTATION.match(line):
            name = start[2]
            entry = name if start[1] else entry
        elif line.startswith(" "):
            found[name].append(line)
    return entry, found


def _read(line: str) -> Operation | None:
    found = _OPERATION.match(line)
    if found is None:
        return None
    root, name, result, kind, inside, attributes = found.groups()
    return Operation(name, kind, result, tuple(_NAME.findall(inside)), inside, attributes, bool(root))


def _named(operation: Operation) -> tuple[str, Operation]:
    return operation.name, operation
