"""Weight files as arrays by name, read without running anything that they hold, and written as safetensors."""

import os
import pathlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy

from smarttrim_jax.errors import CheckpointError

Path = str | os.PathLike[str]
Tensors = dict[str, np.ndarray]

SAFETENSORS = ".safetensors"
TORCH = (".ckpt", ".pth", ".pt", ".bin")
# What training programs wrap the weights in: Lightning, BLIP.
WRAPPERS = ("state_dict", "model")
# Lightning's files mention classes of its own (callbacks, loggers) beside the weights.
MENTIONED = ("pytorch_lightning.", "lightning.", "lightning_fabric.")


def is_weight_file(path: Path) -> bool:
    """Whether a name is that of a weight file, by its suffix."""
    return pathlib.PurePath(path).suffix in (SAFETENSORS, *TORCH)


def read_weights(path: Path) -> Tensors:
    """The tensors of a weight file, in their own types, by name.

    Args:
        path: `.safetensors`, or torch's `.ckpt`, `.pth`, `.pt` or `.bin` (needs torch), whose wrapper
            ("state_dict" of Lightning, "model" of BLIP) is taken off.

    Raises:
        CheckpointError: the file is missing, damaged, of an unknown kind, without weights, or holds code.
    """
    path = pathlib.Path(path).expanduser()
    if not is_weight_file(path):
        known = ", ".join((SAFETENSORS, *TORCH))
        raise CheckpointError(f"'{path}' is no weight file by its suffix; known are {known}")
    if not path.is_file():
        raise CheckpointError(f"weight file '{path}' is missing; check the path")
    return _read_safetensors(path) if path.suffix == SAFETENSORS else _read_torch(path)


def read_metadata(path: Path) -> dict[str, str]:
    """The texts that a safetensors file carries beside its tensors; none of any other file.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = pathlib.Path(path).expanduser()
    if path.suffix != SAFETENSORS:
        return {}
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise _damaged(path, error) from None


def write_weights(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file, whole or not at all.

    Args:
        path: of the file.
        tensors: by name.
        metadata: texts to carry beside them.

    Raises:
        CheckpointError: it cannot be written, or its suffix is not `.safetensors`.
    """
    path = pathlib.Path(path).expanduser()
    if path.suffix != SAFETENSORS:
        raise CheckpointError(f"weights are written as {SAFETENSORS}, not as '{path}'; choose another name")
    half = path.with_name(f".{path.name}.part")
    try:
        # safetensors writes the memory as it lies: a transposed view would come back as other numbers.
        whole = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
        half.touch()
        mode = half.stat().st_mode  # as the user's other files: safetensors makes private ones
        safetensors.numpy.save_file(whole, half, metadata=dict(metadata))
        half.chmod(mode)
        half.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"cannot write '{path}' ({error}); choose a writable place") from None


def _read_safetensors(path: pathlib.Path) -> Tensors:
    try:
        return safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:
        raise _damaged(path, error) from None


def _read_torch(path: pathlib.Path) -> Tensors:
    try:
        import torch
    except ImportError:
        raise CheckpointError(
            f"reading '{path}' needs torch; pip install 'smarttrim_jax[torch]', or save it as {SAFETENSORS}"
        ) from None
    try:
        stand_ins: list[Any] = [(_StandIn, name) for name in _mentioned_classes(path)]
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual pickles, which are refused where they cannot be read
            content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"'{path}' is damaged or holds more than weights ({_first_sentence(error)}); nothing of it was run; "
            f"save its state_dict alone, best as {SAFETENSORS}"
        ) from None
    except Exception as error:  # a damaged pickle ends in whatever its next byte asks for
        raise _damaged(path, error) from None
    tensors = {name: part for name, part in _unwrapped(content).items() if isinstance(part, torch.Tensor)}
    if not tensors:
        raise CheckpointError(f"'{path}' holds no weights by name; save a model's state_dict")
    return {name: _to_numpy(tensor) for name, tensor in tensors.items()}


def _mentioned_classes(path: pathlib.Path) -> list[str]:
    """The names in the file that may stand for nothing.

    Raises:
        CheckpointError: others are there, or the file is a program.
    """
    import torch

    try:
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except ValueError:
        if zipfile.is_zipfile(path):
            raise CheckpointError(
                f"'{path}' is a TorchScript program; save its weights: "
                "torch.save(torch.jit.load(FILE).state_dict(), OTHER)"
            ) from None
        return []  # torch's format before 1.6, where whatever is not a weight is refused
    refused = sorted(name for name in names if not name.startswith(MENTIONED))
    if refused:
        raise CheckpointError(
            f"'{path}' holds more than weights: it would use {', '.join(refused)}; nothing of it was run; "
            f"save its state_dict alone, best as {SAFETENSORS}"
        )
    return names


class _StandIn:
    """In the place of a class that a file mentions: takes whatever it is given, and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


def _unwrapped(content: Any) -> Mapping[str, Any]:
    if not isinstance(content, Mapping):
        return {}
    return next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), content)


def _to_numpy(tensor: Any) -> np.ndarray:
    import torch

    tensor = tensor.detach().contiguous()
    if tensor.dtype == torch.bfloat16:  # which torch does not give to numpy
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return tensor.numpy()


def _damaged(path: pathlib.Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"'{path}' is damaged ({_first_sentence(error)}); fetch it again")


def _first_sentence(error: Exception) -> str:
    return str(error).split("\n")[0].split(". ")[0] or type(error).__name__
