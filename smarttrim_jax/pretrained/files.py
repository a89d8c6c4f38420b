"""Weight files as arrays by name: read without running anything that they hold, and written as safetensors."""

import os
import pathlib
import stat
from collections.abc import Mapping
from typing import Any

import ml_dtypes  # noqa: F401 (teaches numpy bfloat16)
import numpy as np
import safetensors
import safetensors.numpy

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.json_text import parse_json
from smarttrim_jax.pretrained.torch_files import first_sentence, is_torch, read_torch, to_numpy
from smarttrim_jax.pretrained.wrapping import unwrapped

Path = str | os.PathLike[str]
Tensors = dict[str, np.ndarray]

SAFETENSORS = ".safetensors"
TORCH = (".ckpt", ".pth", ".pt", ".bin")
INDEX = ".index.json"
"""The suffix of an index of weights in several files (Hugging Face's "sharded" checkpoints)."""


def is_weight_file(path: Path) -> bool:
    """Tells whether a name is that of a weight file, by its suffix.

    Args:
        path: Path or name of a file, which need not exist.

    Returns:
        Whether `read_weights` knows the suffix.
    """
    return os.fspath(path).endswith((SAFETENSORS, *TORCH, INDEX))


def read_weights(path: Path) -> Tensors:
    """Reads the tensors of a weight file.

    Args:
        path: `.safetensors`; torch's `.ckpt`, `.pth`, `.pt` or `.bin` (needs torch); or the `.index.json` of several
            such files beside it. Wrappers of training programs are removed: entries such as "state_dict", and
            prefixes of names such as "module.".

    Returns:
        Arrays in the file's own data types, by name.

    Raises:
        CheckpointError: The file is missing, damaged, of an unknown kind, without weights, or holds code; a weight
            cannot be read; or some names have a prefix and others do not.
    """
    if not is_weight_file(path):
        known = ", ".join((SAFETENSORS, *TORCH, INDEX))
        raise CheckpointError(f"'{path}' is no weight file by its suffix; known are {known}")
    file = _existing(path)
    if file.name.endswith(INDEX):
        return unwrapped(_read_shards(file))
    return unwrapped(_read_safetensors(file)) if file.suffix == SAFETENSORS else _read_torch(file)


def read_metadata(path: Path) -> dict[str, str]:
    """Reads the texts that a safetensors file carries beside its tensors.

    Args:
        path: Path of a file.

    Returns:
        Texts by name; empty for a file of another kind.

    Raises:
        CheckpointError: The file is missing or damaged.
    """
    file = _existing(path)
    if file.suffix != SAFETENSORS:
        return {}
    try:
        with safetensors.safe_open(file, framework="numpy") as content:
            return content.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise _damaged(file, error) from None


def write_weights(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file, completely or not at all.

    Args:
        path: Path of the file, ending in `.safetensors`.
        tensors: Arrays by name.
        metadata: Texts to carry beside them, by name.

    Raises:
        CheckpointError: The file cannot be written, or its suffix is not `.safetensors`.
    """
    path = pathlib.Path(path).expanduser()
    if path.suffix != SAFETENSORS:
        raise CheckpointError(f"weights are written as {SAFETENSORS}, not as '{path}'; choose another name")
    half = path.with_name(f".{path.name}.part")
    try:
        # safetensors writes the memory in its order, so a transposed view would be read back wrongly.
        whole = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
        half.touch()
        mode = half.stat().st_mode  # the user's default permissions: safetensors makes private files
        safetensors.numpy.save_file(whole, half, metadata=dict(metadata))
        half.chmod(mode)
        half.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"cannot write '{path}' ({error}); choose a writable place") from None


def _read_safetensors(path: pathlib.Path) -> Tensors:
    """Reads a safetensors file."""
    tensors = {}
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                tensors[name] = _read_tensor(file, name)
    except (safetensors.SafetensorError, OSError, MemoryError) as error:
        raise _damaged(path, error) from None
    return tensors


def _read_tensor(file: Any, name: str) -> np.ndarray:
    """Reads one tensor of an opened safetensors file."""
    try:
        tensor: np.ndarray = file.get_tensor(name)
        return tensor
    except (AttributeError, KeyError, TypeError):  # types that numpy does not have
        kind = file.get_slice(name).get_dtype()
        raise CheckpointError(f"weight '{name}' is {kind}, which cannot be read; save it as float32") from None


def _read_shards(index: pathlib.Path) -> Tensors:
    """Reads the tensors of all files that an index names; all must be in its folder."""
    try:
        parts = parse_json(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(map(os.fspath, parts.values())))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"'{index}' is no index of weight files ({first_sentence(error)}); fetch it again"
        ) from None
    tensors: Tensors = {}
    for shard in shards:
        if pathlib.PurePath(shard).name != shard or not is_weight_file(shard) or shard.endswith(INDEX):
            raise CheckpointError(f"'{index}' names the file '{shard}'; it may name weight files beside it alone")
        tensors |= read_weights(index.with_name(shard))
    missing = [name for name in parts if name not in tensors]
    if missing:
        raise CheckpointError(f"'{index}' promises the weight '{missing[0]}', which no file holds; fetch them again")
    return tensors


def _read_torch(path: pathlib.Path) -> Tensors:
    """Reads a file of torch."""
    content = unwrapped(read_torch(path))
    tensors = {name: to_numpy(name, part) for name, part in content.items() if is_torch(part)}
    if not tensors:
        raise CheckpointError(f"'{path}' holds no weights by name; save a model's state_dict")
    return tensors


def _existing(path: Path) -> pathlib.Path:
    """The path of a regular file. Others, such as pipes, may never end."""
    try:
        known = pathlib.Path(path).expanduser()
        mode = known.stat().st_mode
    except FileNotFoundError:
        raise CheckpointError(f"weight file '{path}' is missing; check the path") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"weight file '{path}' cannot be opened ({first_sentence(error)}); check the path"
        ) from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise CheckpointError(f"weight file '{path}' is {kind}; name the file itself")
    return known


def _damaged(path: pathlib.Path, error: Exception) -> CheckpointError:
    """The error for a file that cannot be parsed."""
    return CheckpointError(f"'{path}' is damaged ({first_sentence(error)}); fetch it again")
