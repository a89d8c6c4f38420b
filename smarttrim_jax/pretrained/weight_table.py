"""Converts official weights to our parameters and back, by a table of rules."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.pretrained.torch_files import is_torch, to_numpy

Shape = tuple[int, ...]

FLOATS = tuple(map(np.dtype, (np.float16, ml_dtypes.bfloat16, np.float32, np.float64)))


@dataclasses.dataclass(frozen=True)
class Layout:
    """How an official tensor and our parameter hold the same numbers.

    Attributes:
        to_ours: Function from the official array to ours.
        to_official: Its inverse.
    """

    to_ours: Callable[[np.ndarray], np.ndarray]
    to_official: Callable[[np.ndarray], np.ndarray]


def _flatten_patches(kernel: np.ndarray) -> np.ndarray:
    """A convolution's kernel `[out, 3, side, side]` as a matrix `[side * side * 3, out]`."""
    return kernel.transpose(2, 3, 1, 0).reshape(-1, kernel.shape[0])


def _restore_patches(kernel: np.ndarray) -> np.ndarray:
    """The inverse of `_flatten_patches`."""
    side = round((kernel.shape[0] // 3) ** 0.5)
    return kernel.reshape(side, side, 3, -1).transpose(3, 2, 0, 1)


SAME = Layout(lambda tensor: tensor, lambda tensor: tensor)
TRANSPOSED = Layout(np.transpose, np.transpose)
# Official tensors with one or two leading axes of length 1.
ROW = Layout(lambda tensor: tensor[0], lambda tensor: tensor[None])
CELL = Layout(lambda tensor: tensor[0, 0], lambda tensor: tensor[None, None])
# A convolution [out, 3, side, side] whose stride equals its size; ours is the matrix [side * side * 3, out].
PATCHES = Layout(_flatten_patches, _restore_patches)


def batched(axes: int) -> Layout:
    """Makes the layout of official tensors that have leading axes of size 1.

    Args:
        axes: Number of these axes.

    Returns:
        The layout; ours lacks the axes.
    """
    return Layout(lambda tensor: tensor.reshape(tensor.shape[axes:]), lambda array: array[(None,) * axes])


@dataclasses.dataclass(frozen=True)
class Rule:
    """The correspondence of an official tensor and our parameters.

    Attributes:
        official: Official name; "{layer}" stands for the index of a layer. Our parameters stack layers on axis 0.
        ours: Our paths, joined by "/"; several share the official tensor in equal parts along its axis 0.
        layout: How each part is laid out.
        first: Index of the first layer that our parameters hold.
    """

    official: str
    ours: tuple[str, ...]
    layout: Layout = SAME
    first: int = 0

    @property
    def stacked(self) -> bool:
        """Whether our parameters hold several layers."""
        return "{layer}" in self.official

    def names(self, shape: Shape) -> list[str]:
        """Lists the official names.

        Args:
            shape: Shape of our parameter.

        Returns:
            One name, or one for each layer.
        """
        depth = shape[0] if self.stacked else 1
        return [self.official.format(layer=self.first + layer) for layer in range(depth)]

    def split(self, tensor: np.ndarray) -> list[np.ndarray]:
        """Converts an official tensor to our parameters.

        Args:
            tensor: The official tensor, of one layer if the rule is stacked.

        Returns:
            Our parameters in the order of `ours`.
        """
        parts = [tensor] if len(self.ours) == 1 else np.split(tensor, len(self.ours))
        return [self.layout.to_ours(part) for part in parts]

    def join(self, parts: Iterable[np.ndarray]) -> np.ndarray:
        """Converts our parameters to the official tensor.

        Args:
            parts: Our parameters in the order of `ours`, of one layer if the rule is stacked.

        Returns:
            The official tensor.
        """
        tensors = [self.layout.to_official(part) for part in parts]
        return tensors[0] if len(tensors) == 1 else np.concatenate(tensors)


@dataclasses.dataclass(frozen=True)
class WeightTable:
    """All rules of one family of official checkpoints.

    Attributes:
        family: Name of the family in errors.
        rules: The rules; each official name and each of our paths occurs at most once.
        leftovers: Patterns of official names that the official model does not use either.
        copies: Official names of tensors that repeat another one (tied weights), with the other's name.
    """

    family: str
    rules: tuple[Rule, ...]
    leftovers: tuple[str, ...] = ()
    copies: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def read(self, tensors: Mapping[str, Any], shapes: Mapping[str, Shape]) -> dict[str, np.ndarray]:
        """Converts official tensors to our parameters.

        Args:
            tensors: Tensors by official name; anything that `numpy.asarray` accepts, and torch's tensors.
            shapes: Shapes of our parameters by path; all of them must be filled.

        Returns:
            Our parameters by path, float32.

        Raises:
            CheckpointError: Weights are missing, unexpected, misshaped, or not tied as they should be, which are all
                listed at once; or a weight has numbers that cannot be used (see `as_float32`).
        """
        rules = [rule for rule in self.rules if all(path in shapes for path in rule.ours)]
        needed = {name: shape for rule in rules for name, shape in _official_shapes(rule, shapes).items()}
        arrays = {name: as_float32(name, tensors[name]) for name in needed if name in tensors}
        covered = {path for rule in rules for path in rule.ours}
        problems = {
            "missing": [name for name in needed if name not in arrays],
            "without an official counterpart": [path for path in shapes if path not in covered],
            "unexpected": [name for name in tensors if name not in needed and not self._is_leftover(name)],
            "not tied": [
                f"{name} is not {origin}"
                for name, origin in self.copies.items()
                if name in tensors
                and origin in arrays
                and not np.array_equal(as_float32(name, tensors[name]), arrays[origin])
            ],
            "misshaped": [
                f"{name} is {list(array.shape)} instead of {list(needed[name])}"
                for name, array in arrays.items()
                if array.shape != needed[name]
            ],
        }
        found = [f"{len(names)} {kind}: {', '.join(names)}" for kind, names in problems.items() if names]
        if found:
            raise CheckpointError(
                f"this {self.family} checkpoint does not fit the model asked for ({'; '.join(found)}); "
                "use the settings it was trained with, or another file"
            )
        return {path: array for rule in rules for path, array in _read_rule(rule, arrays, shapes).items()}

    def write(self, params: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Converts our parameters to official tensors; the inverse of `read`.

        Args:
            params: Our parameters by path.

        Returns:
            The official tensors by name.

        Raises:
            CheckpointError: Parameters have no official name; all are listed.
        """
        rules = [rule for rule in self.rules if all(path in params for path in rule.ours)]
        covered = {path for rule in rules for path in rule.ours}
        nameless = [path for path in params if path not in covered]
        if nameless:
            raise CheckpointError(
                f"{len(nameless)} parameters have no name in {self.family} checkpoints: {', '.join(nameless)}; "
                f"only a model of {self.family}'s own parts can be written"
            )
        tensors = {}
        for rule in rules:
            parts = [np.asarray(params[path]) for path in rule.ours]
            layers = zip(*parts, strict=True) if rule.stacked else [parts]
            names = rule.names(parts[0].shape)
            tensors.update({name: rule.join(layer) for name, layer in zip(names, layers, strict=True)})
        return tensors | {name: tensors[origin] for name, origin in self.copies.items() if origin in tensors}

    def _is_leftover(self, name: str) -> bool:
        """Whether a name is known to be of no use to our model."""
        return name in self.copies or any(re.fullmatch(pattern, name) for pattern in self.leftovers)


def _official_shapes(rule: Rule, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """The shapes that the official tensors of a rule must have."""
    part = np.broadcast_to(np.float32(0), shapes[rule.ours[0]][rule.stacked :])  # takes no memory, unlike real arrays
    rows, *rest = rule.layout.to_official(part).shape or (1,)
    shape = (rows * len(rule.ours), *rest) if len(rule.ours) > 1 else rule.layout.to_official(part).shape
    return dict.fromkeys(rule.names(shapes[rule.ours[0]]), shape)


def _read_rule(rule: Rule, arrays: Mapping[str, np.ndarray], shapes: Mapping[str, Shape]) -> dict[str, np.ndarray]:
    """Converts the official tensors of a rule to our parameters, by path."""
    layers = [rule.split(arrays[name]) for name in rule.names(shapes[rule.ours[0]])]
    columns = zip(*layers, strict=True)
    params = [np.stack(column) if rule.stacked else column[0] for column in columns]
    return dict(zip(rule.ours, params, strict=True))


def as_float32(name: str, tensor: Any) -> np.ndarray:
    """Converts a weight to a float32 array.

    Args:
        name: Name of the weight, for errors.
        tensor: An array of floating-point numbers, or a tensor of torch.

    Returns:
        The numbers in float32.

    Raises:
        CheckpointError: The weight holds no floating-point numbers, or some that are not finite in float32.
    """
    try:
        array = to_numpy(name, tensor) if is_torch(tensor) else np.asarray(tensor)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"weight {name!r} cannot be read as a numpy array ({error}); save it as float32"
        ) from None
    if array.dtype not in FLOATS:
        # Numbers of 8 bits need scales, which a checkpoint holds under other names or not at all.
        raise CheckpointError(
            f"weight {name!r} is {array.dtype}, but weights are floating-point numbers of 16, 32 or 64 bits; "
            "save it as float32"
        )
    with np.errstate(over="ignore"):
        numbers = array.astype(np.float32)
    if not np.isfinite(numbers).all():
        count = np.count_nonzero(~np.isfinite(numbers))
        raise CheckpointError(
            f"weight {name!r} holds {count} numbers that are not finite in float32; use an earlier checkpoint"
        )
    return numbers
