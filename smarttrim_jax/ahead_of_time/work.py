"""The work of a compiled program on one chip, from its HLO text: FLOPs, and bytes that pass its main memory.

XLA's own analysis counts the body of a loop once, and of a conditional the largest branch. Here a loop counts as
often as it turns, and of each conditional the branch that is asked for.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping

from smarttrim_jax.ahead_of_time.hlo_text import Operation, read_operations, turns
from smarttrim_jax.tokens.attention.splash import block_size

_ESTIMATE = re.compile(r'"cost_estimate":\{"flops":"(\d+)".*?"bytes_accessed":"(\d+)"')
_LABELS = re.compile(r"\bdim_labels=\w+_(\w+)->")
_CONTRACTED = re.compile(r"\blhs_contracting_dims=\{([\d,]*)\}")
Operations = Mapping[str, Operation]
_FREE = {
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "after-all",
    "while",
    "conditional",
    "call",
}
_PICKS = {"slice", "dynamic-slice", "gather"}


@dataclasses.dataclass(frozen=True)
class Work:
    """What a program does in one run.

    Attributes:
        flops: Floating-point operations of matrix products and of kernels.
        bytes: Bytes read from and written to main memory; arrays that stay in the chip's fast memory do not count.
    """

    flops: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.flops + other.flops, self.bytes + other.bytes)

    def __mul__(self, times: int) -> "Work":
        return Work(self.flops * times, self.bytes * times)


def count_work(hlo: str, branch: str = "", number: int = 0) -> Work:
    """Counts the work of a program.

    A kernel counts as it declares, whatever memory its arrays are in. JAX's splash kernel declares nothing, and
    counts as full attention.

    Args:
        hlo: Text of a compiled program (`jax.stages.Compiled.as_text()`).
        branch: What the operations of a branch are named by, before its number.
        number: The branch that every conditional takes. Of branches that were alike a program has only the first, so
            that the largest number up to this one counts; where no branch has a number, the largest work.

    Returns:
        The work of one run.
    """
    return _Program(hlo, re.compile(rf"{branch}(\d+)"), number).of()


class _Program:
    """A program's computations, and the branch that it takes."""

    def __init__(self, hlo: str, branch: re.Pattern[str], number: int):
        self._entry, self._computations = read_operations(hlo)
        self._branch, self._number = branch, number

    def of(self, name: str = "") -> Work:
        """The work of a computation, by default of the one that the program begins with."""
        operations = self._computations[name or self._entry]
        return sum((self._of_operation(operation, operations) for operation in operations.values()), Work())

    def _of_operation(self, operation: Operation, operations: Operations) -> Work:
        if operation.kind == "conditional":
            return self._of_conditional(operation.branches)
        if operation.kind == "while":
            _, body = operation.called
            return self.of(body) * turns(operation, self._computations)
        if operation.kind in ("call", "async-start"):
            return sum((self.of(name) for name in operation.called), Work())
        declared = _ESTIMATE.search(operation.attributes)
        if operation.kind == "custom-call" and declared:
            return Work(float(declared[1]), float(declared[2]))
        if operation.kind == "custom-call" and operation.name.startswith("splash"):
            return _splash(operation, operations)
        return Work(self._flops(operation, operations), self._bytes(operation, operations))

    def _of_conditional(self, branches: list[str]) -> Work:
        numbers: dict[int, str] = {}
        for name in branches:
            lines = (self._branch.search(operation.attributes) for operation in self._computations[name].values())
            found = next((line for line in lines if line), None)
            if found:
                numbers[int(found[1])] = name
        if len(numbers) < len(branches):
            return max((self.of(name) for name in branches), key=lambda work: (work.flops, work.bytes))
        return self.of(numbers[max(number for number in numbers if number <= self._number)])

    def _flops(self, operation: Operation, operations: Operations) -> float:
        """The operations of a matrix product, of those that are fused into one operation, or of the splash kernel."""
        if operation.kind == "fusion":
            inside = self._computations[operation.called[0]]
            return sum(self._flops(part, inside) for part in inside.values())
        if operation.kind not in ("convolution", "dot"):
            return 0.0
        outputs = math.prod(operation.arrays[0].sides)
        sides = [operations[name].arrays[0].sides for name in operation.operands if name in operations]
        if labels := _LABELS.search(operation.attributes):
            return 2.0 * outputs * math.prod(sides[1]) / sides[1][labels[1].index("o")]
        if contracted := _CONTRACTED.search(operation.attributes):
            return 2.0 * outputs * math.prod(sides[0][int(axis)] for axis in contracted[1].split(",") if axis)
        return 0.0

    def _bytes(self, operation: Operation, operations: Operations) -> float:
        """What an operation moves between the chip and its main memory."""
        if operation.kind in _FREE or operation.kind.endswith("-start"):
            return 0.0
        if operation.kind.endswith("-done"):
            begun = operations[operation.operands[0]]
            source = operations[begun.operands[0]].arrays[0]
            result = operation.arrays[0]
            return float(result.bytes * ((not source.is_near) + (not result.is_near)))
        moved = sum(self._read(name, operations, [operation]) for name in {*operation.operands} if name in operations)
        for array, size in zip(operation.arrays, self._sizes(operation, operations), strict=False):
            moved += 0 if array.is_near else size
        return float(moved)

    def _read(self, name: str, operations: Operations, users: Iterable[Operation]) -> int:
        """Bytes that operations read of one result: less than all of it where they only pick parts."""
        array = operations[name].arrays[0]
        return 0 if array.is_near else min(array.bytes, sum(self._read_by(user, name, operations) for user in users))

    def _read_by(self, user: Operation, name: str, operations: Operations) -> int:
        whole = operations[name].arrays[0].bytes
        if user.kind in _PICKS and user.operands[0] == name:
            return user.arrays[0].bytes
        if user.kind == "dynamic-update-slice" and user.operands[0] == name:
            return 0
        inside, names = operations, [user.name] if user.kind == "bitcast" else []
        if user.kind == "fusion":
            inside = self._computations[user.called[0]]
            places = {str(place) for place, operand in enumerate(user.operands) if operand == name}
            names = [part.name for part in inside.values() if part.kind == "parameter" and part.inside in places]
        read = 0
        for inner in names:
            for part in inside.values():
                read += self._read_by(part, inner, inside) if inner in part.operands else 0
        return min(read, whole) if names else whole

    def _sizes(self, operation: Operation, operations: Operations) -> list[int]:
        """Bytes that are written of each array of a result: less than all of it where a part is updated in place."""
        if operation.kind == "dynamic-update-slice":
            return [operations[operation.operands[1]].arrays[0].bytes]
        if operation.kind == "tuple":
            return [self._sizes(operations[name], operations)[0] for name in operation.operands]
        if operation.kind == "bitcast":
            return self._sizes(operations[operation.operands[0]], operations)
        if operation.kind == "fusion":
            inside = self._computations[operation.called[0]]
            return self._sizes(next(part for part in inside.values() if part.is_root), inside)
        return [array.bytes for array in operation.arrays]


def _splash(operation: Operation, operations: Operations) -> Work:
    """What the splash kernel would declare: full attention, which reads all keys again for each block of queries."""
    mixed = operation.arrays[0]
    operands = (operations[name].arrays[0] for name in operation.operands)
    query, key, value = (array for array in operands if array.sides[-1:] == mixed.sides[-1:] and len(array.sides) > 2)
    queries, keys = query.sides[-2], key.sides[-2]
    blocks = queries // block_size(queries)
    flops = 4.0 * math.prod(mixed.sides) * keys
    return Work(flops, query.bytes + mixed.bytes + blocks * (key.bytes + value.bytes))
