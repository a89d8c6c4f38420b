"""ONNX files: weights by name, kernels by their biases, damage named, files beside them never followed."""

import pathlib
import sys

import numpy as np
import pytest

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.pretrained.onnx import read_onnx

onnx = pytest.importorskip("onnx", reason="the onnx package is not installed")

KERNEL = np.arange(600.0, dtype=np.float32).reshape(2, 300)
HALF = np.float16([0.5, -2.0])


def model_of(tensors: dict[str, np.ndarray]) -> "onnx.ModelProto":
    node = onnx.helper.make_node
    nodes = [
        node("MatMul", ["x", "onnx::MatMul_7"], ["product"]),
        node("MatMul", ["a", "b"], ["attention"]),
        node("Add", ["fc.bias", "product"], ["y"]),
        node("Add", ["y", "norm.bias"], ["z"]),
    ]
    weights = [onnx.numpy_helper.from_array(array, name) for name, array in tensors.items()]
    return onnx.helper.make_model(onnx.helper.make_graph(nodes, "graph", [], [], weights))


@pytest.fixture
def content() -> bytes:
    return model_of(
        {
            "fc.bias": np.ones(300, np.float32),
            "onnx::MatMul_7": KERNEL,
            "norm.bias": HALF,
            "onnx::Concat_9": np.zeros((1, 1, 2), np.float32),
            "shape": np.array([1, 2]),
        }
    ).SerializeToString()


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


@pytest.mark.parametrize("noise", [b"", b"no model", bytes(range(256))])
def test_other_files_are_named(noise: bytes, tmp_path: pathlib.Path) -> None:
    (tmp_path / "model.onnx").write_bytes(noise)
    with pytest.raises(CheckpointError, match=r"model.onnx' is (damaged or )?no ONNX file"):
        read_onnx(tmp_path / "model.onnx")


def test_a_tensor_without_its_numbers_is_named(tmp_path: pathlib.Path) -> None:
    model = model_of({"fc.bias": np.ones(300, np.float32)})
    model.graph.initializer[0].ClearField("raw_data")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match=r"model.onnx' is damaged"):
        read_onnx(tmp_path / "model.onnx")


def test_weights_in_other_files_are_not_followed(tmp_path: pathlib.Path) -> None:
    model = model_of({"fc.bias": np.ones(300, np.float32)})
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../secret.bin")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match=r"keeps fc.bias in another file"):
        read_onnx(tmp_path / "model.onnx")


def test_missing_files_and_a_missing_package_are_named(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read '.*none.onnx': No such file"):
        read_onnx(tmp_path / "none.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(CheckpointError, match=r"the package onnx, which is not installed; pip install onnx"):
        read_onnx(tmp_path / "none.onnx")
