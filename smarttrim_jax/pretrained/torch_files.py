"""Torch's weight files as arrays by name; nothing that they hold is run."""

import pathlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from smarttrim_jax.errors import CheckpointError

# Lightning's files mention classes of its own (callbacks, loggers) beside the weights.
MENTIONED = ("pytorch_lightning.", "lightning.", "lightning_fabric.")


def read_torch(path: pathlib.Path) -> Mapping[Any, Any]:
    """Reads a file of `torch.save`.

    Args:
        path: Path of the file.

    Returns:
        Its content, with tensors as torch's; empty if it is no mapping.

    Raises:
        CheckpointError: torch is not installed, or the file is damaged, is a program, or holds code.
    """
    try:
        import torch
    except ImportError:
        raise CheckpointError(
            f"reading '{path}' needs torch; pip install 'smarttrim_jax[torch]', or save it as .safetensors"
        ) from None
    try:
        _check_archive(path)
        stand_ins: list[Any] = [(_StandIn, name) for name in _mentioned_classes(path)]
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about unusual pickles; those that cannot be read raise an error
            content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"'{path}' is damaged or holds more than weights ({first_sentence(error)}); nothing of it was run; "
            "save its state_dict alone, best as .safetensors"
        ) from None
    except Exception as error:  # a damaged pickle may raise anything
        raise CheckpointError(f"'{path}' is damaged ({first_sentence(error)}); fetch it again") from None
    return content if isinstance(content, Mapping) else {}


def is_torch(value: Any) -> bool:
    """Tells whether a value is a tensor of torch; torch need not be installed.

    Args:
        value: Any value.

    Returns:
        Whether it is a tensor.
    """
    return type(value).__module__.split(".")[0] == "torch" and hasattr(value, "layout")


def to_numpy(name: str, tensor: Any) -> np.ndarray:
    """Converts a tensor of torch to an array of the same data type.

    Args:
        name: Name of the weight, for errors.
        tensor: A tensor of torch.

    Returns:
        The array; bfloat16 becomes that of `ml_dtypes`.

    Raises:
        CheckpointError: The tensor holds no plain numbers (quantized, sparse, without data), or has a type that numpy
            does not have.
    """
    import torch

    kind = next((word for word, is_so in _kinds(tensor).items() if is_so), None)
    if kind is not None:
        raise CheckpointError(f"weight '{name}' is {kind}; save it as a dense float32 tensor")
    try:
        tensor = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
        is_bfloat16 = tensor.dtype == torch.bfloat16  # torch cannot convert it to numpy
        array: np.ndarray = (tensor.view(torch.int16) if is_bfloat16 else tensor).numpy()
        return array.view(ml_dtypes.bfloat16) if is_bfloat16 else array
    except (TypeError, RuntimeError, MemoryError) as error:
        raise CheckpointError(
            f"weight '{name}' is {tensor.dtype}, which cannot be read ({first_sentence(error)}); save it as float32"
        ) from None


def first_sentence(error: BaseException) -> str:
    """Shortens another library's error to its first sentence, without its advice.

    Args:
        error: The error.

    Returns:
        The sentence, or the error's type if it has no message.
    """
    return str(error).split("\n")[0].split(". ")[0] or type(error).__name__


def _kinds(tensor: Any) -> dict[str, bool]:
    """Lists the kinds of tensors that hold no plain numbers, and whether a tensor is one of them."""
    import torch

    is_dense = tensor.layout == torch.strided and not tensor.is_quantized
    has_numbers = is_dense and not tensor.is_meta
    return {
        "on the 'meta' device, without numbers": tensor.is_meta,
        "quantized": tensor.is_quantized,
        "sparse": not is_dense,
        # A view may repeat one number any number of times; a small file must not fill the memory that way.
        "larger than what its file holds of it": has_numbers
        and tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes(),
    }


def _check_archive(path: pathlib.Path) -> None:
    """Refuses an archive that unpacks to more than its size, since `torch.save` does not compress."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > path.stat().st_size:
        raise CheckpointError(
            f"'{path}' is a compressed archive, and no file of torch.save, which compresses nothing; save it anew"
        )


def _mentioned_classes(path: pathlib.Path) -> list[str]:
    """Lists the classes that a file mentions and that may be replaced by a placeholder.

    Raises:
        CheckpointError: The file mentions other classes, or is a program.
    """
    import torch

    try:
        names: list[str] = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except ValueError:
        if zipfile.is_zipfile(path):
            raise CheckpointError(
                f"'{path}' is a TorchScript program; save its weights: "
                "torch.save(torch.jit.load(FILE).state_dict(), OTHER)"
            ) from None
        return []  # torch's format before 1.6, for which torch.load itself refuses all that is not a weight
    refused = sorted(name for name in names if not name.startswith(MENTIONED))
    if refused:
        raise CheckpointError(
            f"'{path}' holds more than weights: it would use {', '.join(refused)}; nothing of it was run; "
            "save its state_dict alone, best as .safetensors"
        )
    return names


class _StandIn:
    """A placeholder for a class that a file mentions: accepts any arguments and state, and does nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...
