"""The weights of an ONNX file, read with as much of protobuf as that takes (onnx.proto of the ONNX project)."""

import math
import os
import pathlib
from collections.abc import Iterator

import numpy as np

from smarttrim_jax.errors import CheckpointError

# Numbers of the fields that are read.
MODEL_GRAPH = 7
GRAPH_NODE, GRAPH_INITIALIZER = 1, 5
NODE_INPUT, NODE_OUTPUT, NODE_OPERATION = 1, 2, 4
TENSOR_DIMS, TENSOR_TYPE, TENSOR_NAME, TENSOR_RAW = 1, 2, 8, 9
FLOATS: dict[int, np.dtype] = {1: np.dtype("<f4"), 10: np.dtype("<f2"), 11: np.dtype("<f8")}

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
FIXED = {FIXED64: 8, FIXED32: 4}


def read_onnx(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The floating-point weights by name.

    Linear layers lose the name of their kernel on export: it is the one multiplied before `X.bias` is added, and
    comes back as `X.weight`, `[out, in]` as torch has it.

    Raises:
        CheckpointError: the file is missing or damaged, or keeps its weights elsewhere.
    """
    path = pathlib.Path(path)
    try:
        graph = _only(memoryview(path.read_bytes()), MODEL_GRAPH)
        found = [_tensor(message) for message in _all(graph, GRAPH_INITIALIZER)]
        tensors = {name: array for name, array in found if array is not None}
        kernels = _kernels([_node(message) for message in _all(graph, GRAPH_NODE)], tensors)
    except OSError as error:
        raise CheckpointError(f"cannot read '{path}': {error.strerror or error}") from None
    except (IndexError, ValueError) as error:
        raise CheckpointError(f"'{path}' is damaged or no ONNX file with its weights inside ({error})") from None
    if not tensors:
        raise CheckpointError(f"'{path}' is no ONNX file with its weights inside")
    weights = {name: array for name, array in tensors.items() if name not in kernels.values()}
    return weights | {name: np.transpose(tensors[kernel]) for name, kernel in kernels.items()}


def _kernels(nodes: list[tuple[str, list[str], list[str]]], tensors: dict[str, np.ndarray]) -> dict[str, str]:
    """The names of anonymous kernels by the names that they had in torch."""
    kernel_of = {
        outputs[0]: inputs[1]
        for operation, inputs, outputs in nodes
        if operation == "MatMul" and inputs[1] in tensors
    }
    found = {}
    for operation, inputs, _ in nodes:
        biases = [name for name in inputs if name in tensors and name.endswith(".bias")]
        products = [name for name in inputs if name in kernel_of]
        if operation == "Add" and biases and products:
            found[biases[0].removesuffix("bias") + "weight"] = kernel_of[products[0]]
    return found


def _node(message: memoryview) -> tuple[str, list[str], list[str]]:
    """Operation, inputs and outputs."""
    names = {number: [_text(each) for each in _all(message, number)] for number in (NODE_INPUT, NODE_OUTPUT)}
    return _text(_only(message, NODE_OPERATION)), names[NODE_INPUT], names[NODE_OUTPUT]


def _tensor(message: memoryview) -> tuple[str, np.ndarray | None]:
    """Name and numbers; None for integers, which are no weights."""
    fields = list(_fields(message))
    name = _text(_only(message, TENSOR_NAME))
    kinds = [value for number, value in fields if number == TENSOR_TYPE and isinstance(value, int)]
    dtype = FLOATS.get(kinds[0]) if kinds else None
    if dtype is None:
        return name, None
    shape: list[int] = []
    for number, value in fields:
        if number == TENSOR_DIMS:
            shape += [value] if isinstance(value, int) else _varints(value)
    raw = _only(message, TENSOR_RAW)
    if len(raw) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} has {len(raw)} bytes for the shape {shape}")
    return name, np.frombuffer(raw, dtype).reshape(shape)


def _only(message: memoryview, number: int) -> memoryview:
    """The one field of this number."""
    return next(_all(message, number), memoryview(b""))


def _all(message: memoryview, number: int) -> Iterator[memoryview]:
    return (value for field, value in _fields(message) if field == number and isinstance(value, memoryview))


def _text(value: memoryview) -> str:
    return bytes(value).decode()


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of every field: an int, or the bytes of a text, message or array."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == BYTES:
            size, at = _varint(message, at)
        elif kind in FIXED:
            size = FIXED[kind]
        else:
            raise ValueError(f"unknown wire type {kind}")
        if at + size > len(message):
            raise ValueError("it ends too early")
        yield key >> 3, message[at : at + size]
        at += size


def _varints(message: memoryview) -> list[int]:
    numbers, at = [], 0
    while at < len(message):
        number, at = _varint(message, at)
        numbers.append(number)
    return numbers


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """An integer of seven bits a byte, the lowest first, and where it ends."""
    number = shift = 0
    while True:
        byte = message[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number, at
