"""ONNX files, written here byte by byte: weights by name, kernels by their biases, damage named."""

import pathlib
import struct

import numpy as np
import pytest

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.pretrained.onnx import read_onnx

KERNEL = np.arange(600.0, dtype=np.float32).reshape(2, 300)
HALF = np.float16([0.5, -2.0])


def varint(number: int) -> bytes:
    low = bytes([number & 0x7F])
    return low if number < 0x80 else bytes([low[0] | 0x80]) + varint(number >> 7)


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(name: str, array: np.ndarray, *, kind: int = 1, packed: bool = False) -> bytes:
    sizes = [field(1, b"".join(map(varint, array.shape)))] if packed else [field(1, size) for size in array.shape]
    # a field of each kind that readers skip: 32 bits, 64 bits
    skipped = varint(40 << 3 | 5) + struct.pack("<f", 1.0) + varint(41 << 3 | 1) + struct.pack("<d", 1.0)
    return b"".join(sizes) + skipped + field(2, kind) + field(8, name) + field(9, array.tobytes())


def node(operation: str, inputs: list[str], output: str) -> bytes:
    return b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, operation)


@pytest.fixture
def content() -> bytes:
    tensors = [
        tensor("fc.bias", np.ones(300, np.float32)),
        tensor("onnx::MatMul_7", KERNEL, packed=True),
        tensor("norm.bias", HALF, kind=10),
        tensor("onnx::Concat_9", np.zeros((1, 1, 2), np.float32)),
        tensor("shape", np.array([1, 2]), kind=7),
    ]
    nodes = [
        node("MatMul", ["x", "onnx::MatMul_7"], "product"),
        node("MatMul", ["a", "b"], "attention"),
        node("Add", ["fc.bias", "product"], "y"),
        node("Add", ["y", "norm.bias"], "z"),
    ]
    graph = b"".join([*(field(1, each) for each in nodes), field(2, "graph"), *(field(5, each) for each in tensors)])
    return field(1, 8) + field(2, "exporter") + field(7, graph)


def test_weights_come_by_name_and_kernels_by_their_bias(content: bytes, tmp_path: pathlib.Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    weights = read_onnx(tmp_path / "model.onnx")
    assert weights.keys() == {"fc.bias", "fc.weight", "norm.bias", "onnx::Concat_9"}
    np.testing.assert_array_equal(weights["fc.weight"], KERNEL.T)
    np.testing.assert_array_equal(weights["norm.bias"], HALF)


@pytest.mark.parametrize("cut", [1, 10, 900, 2000])
def test_a_truncated_file_is_named(content: bytes, tmp_path: pathlib.Path, cut: int) -> None:
    (tmp_path / "model.onnx").write_bytes(content[:-cut])
    with pytest.raises(CheckpointError, match=r"model.onnx' is damaged"):
        read_onnx(tmp_path / "model.onnx")


def test_weights_that_lie_elsewhere_and_missing_files_are_named(tmp_path: pathlib.Path) -> None:
    empty = field(1, 3) + field(2, 1) + field(8, "far")
    (tmp_path / "model.onnx").write_bytes(field(7, field(5, empty)))
    with pytest.raises(CheckpointError, match=r"with its weights inside \(far has 0 bytes for the shape \[3\]\)"):
        read_onnx(tmp_path / "model.onnx")
    with pytest.raises(CheckpointError, match=r"cannot read '.*none.onnx': No such file"):
        read_onnx(tmp_path / "none.onnx")
