"""Reads the weights of an ONNX file by torch's names, with the package `onnx` (extra `packages`)."""

import os
import pathlib
from typing import Any

import numpy as np

from smarttrim_jax.errors import CheckpointError, reason


def read_onnx(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the floating-point weights of an ONNX file.

    Linear layers lose the name of their kernel on export. It is found as the one that is multiplied before `X.bias`
    is added, and returned as `X.weight`, `[out, in]` as in torch.

    Args:
        path: Path of the file. Weights in other files are not followed, because a file of unknown origin could name
            any.

    Returns:
        Arrays in the file's own data types (float16, float32 or float64), by name.

    Raises:
        CheckpointError: The file is missing or damaged, keeps weights in another file, or `onnx` is not installed.
    """
    try:
        import onnx
        from google.protobuf.message import DecodeError
        from onnx import numpy_helper
    except ImportError:
        raise CheckpointError(
            f"'{path}' is read by the package onnx, which is not installed; pip install onnx"
        ) from None
    path = pathlib.Path(path)
    try:
        graph = onnx.load(path, load_external_data=False).graph
        elsewhere = [each.name for each in graph.initializer if each.data_location == onnx.TensorProto.EXTERNAL]
        tensors = {} if elsewhere else {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    except OSError as error:
        raise CheckpointError(f"cannot read '{path}': {error.strerror or error}") from None
    except (DecodeError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(f"'{path}' is damaged or no ONNX file ({reason(error)})") from None
    if elsewhere:
        raise CheckpointError(f"'{path}' keeps {elsewhere[0]} in another file; export it with its weights inside")
    weights = {name: array for name, array in tensors.items() if array.dtype.kind == "f"}
    if not weights:
        raise CheckpointError(f"'{path}' is no ONNX file with its weights inside")
    kernels = _kernels(graph.node, weights)
    named = {name: array for name, array in weights.items() if name not in kernels.values()}
    return named | {name: np.transpose(weights[kernel]) for name, kernel in kernels.items()}


def _kernels(nodes: Any, weights: dict[str, np.ndarray]) -> dict[str, str]:
    """Finds the names of anonymous kernels, by the names that they had in torch."""
    kernel_of = {
        node.output[0]: node.input[1] for node in nodes if node.op_type == "MatMul" and node.input[1] in weights
    }
    found = {}
    for node in nodes:
        biases = [name for name in node.input if name in weights and name.endswith(".bias")]
        products = [name for name in node.input if name in kernel_of]
        if node.op_type == "Add" and biases and products:
            found[biases[0].removesuffix("bias") + "weight"] = kernel_of[products[0]]
    return found
