"""The placement of arrays on many devices: a mesh, and rules from parameter names to partitions.

Layers do not depend on this; XLA inserts the collectives. A single device is a mesh of size 1.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from smarttrim_jax.configuration import Settings
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.ranges import PositiveInt
from smarttrim_jax.tree_paths import map_with_names

T = TypeVar("T")

EXAMPLE_AXES = ("data", "fsdp")
"""The axes of the mesh along which devices have different examples."""
EXAMPLES = PartitionSpec(EXAMPLE_AXES)
"""The partition of a batch, and of all arrays with one row per example."""
AXES = (*EXAMPLE_AXES, "tensor")
# Tensor parallelism splits the inner axis of attention and of the MLP: (pattern of names, axis counted from the end).
TENSOR_RULES = (
    (r"attention/(query|key|value)/(kernel|bias)$", -1),
    (r"attention/out/kernel$", -2),
    (r"mlp/up/(kernel|bias)$", -1),
    (r"mlp/down/kernel$", -2),
)
# Arrays with fewer numbers are kept whole on each device, which costs less than gathering them.
SMALLEST_SPLIT = 2**14


@dataclasses.dataclass(frozen=True)
class MeshConfig(Settings):
    """Devices along each axis of the mesh; -1 for `data` takes all that the others leave.

    Attributes:
        data: Copies of the model, each with its own examples; -1 for as many as there are devices.
        fsdp: Devices over which each copy's parameters are split, each with its own examples too.
        tensor: Devices that share the heads and the MLP of each layer.
    """

    data: PositiveInt | Literal[-1] = -1
    fsdp: PositiveInt = 1
    tensor: PositiveInt = 1


def make_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """Makes a mesh with axes `data`, `fsdp` and `tensor`.

    With several TPU slices, only `data` crosses the network between them: gradients are summed over it once per step.

    Args:
        config: Sizes of the axes.
        devices: The devices to use; None takes all.

    Returns:
        The mesh, with axes of type Auto.

    Raises:
        ConfigError: The sizes do not use each device exactly once, or `data` is no multiple of the number of slices.
    """
    devices = jax.devices() if devices is None else devices
    slices = len({getattr(device, "slice_index", 0) for device in devices})
    sizes = axis_sizes(config, len(devices), slices)
    axis_types = (AxisType.Auto,) * len(AXES)
    if slices == 1:
        return jax.make_mesh(sizes, AXES, axis_types=axis_types, devices=devices)
    data, fsdp, tensor = sizes
    arranged = mesh_utils.create_hybrid_device_mesh(
        (data // slices, fsdp, tensor), (slices, 1, 1), devices, allow_split_physical_axes=True
    )
    return Mesh(arranged, AXES, axis_types=axis_types)


def axis_sizes(config: MeshConfig, count: int, slices: int = 1) -> tuple[int, int, int]:
    """Computes the sizes of the axes `data`, `fsdp` and `tensor`, with -1 replaced.

    Args:
        config: Sizes of the axes.
        count: Number of devices of all slices together.
        slices: Number of TPU slices that the devices belong to.

    Returns:
        The three sizes.

    Raises:
        ConfigError: The sizes do not use each device exactly once, or `data` is no multiple of the number of slices.
    """
    sizes = _sizes(config, count)
    if not _use_all(sizes, count):
        raise ConfigError(
            f"a mesh of data={config.data}, fsdp={config.fsdp}, tensor={config.tensor} does not fit "
            f"{count} devices; their product must be {count} (data=-1 takes what is left)"
        )
    if sizes[0] % slices:
        raise ConfigError(
            f"mesh.data is {sizes[0]}, but there are {slices} slices, and fsdp and tensor must stay within one; "
            f"make data a multiple of {slices}: {count} devices, with fsdp * tensor at most {count // slices}"
        )
    return sizes


def fits(config: MeshConfig) -> bool:
    """Tells whether a mesh uses each device exactly once.

    Args:
        config: Sizes of the axes.

    Returns:
        Whether the product of the sizes is the number of devices of all processes.
    """
    return _use_all(_sizes(config, jax.device_count()), jax.device_count())


def _sizes(config: MeshConfig, count: int) -> tuple[int, int, int]:
    """The sizes of the axes, with -1 replaced."""
    inner = config.fsdp * config.tensor
    data = count // inner if config.data == -1 and inner > 0 else config.data
    return data, config.fsdp, config.tensor


def _use_all(sizes: tuple[int, int, int], count: int) -> bool:
    """Whether the sizes use each device exactly once."""
    return min(sizes) >= 1 and math.prod(sizes) == count


def replicated(mesh: Mesh) -> NamedSharding:
    """Makes the sharding that keeps a whole copy on each device.

    Args:
        mesh: Mesh from `make_mesh`.

    Returns:
        The sharding.
    """
    return NamedSharding(mesh, PartitionSpec())


def state_shardings(abstract_tree: Any, mesh: Mesh, is_stacked: Callable[[str], bool]) -> Any:
    """Makes the shardings of a state's arrays.

    Args:
        abstract_tree: Tree of arrays or of their shapes. Names of the optimizer's moments end in their parameter's
            name, so these follow the same rules.
        mesh: Mesh from `make_mesh`.
        is_stacked: Function that tells whether a parameter holds several layers (`ModelConfig.is_stacked`).

    Returns:
        The tree of shardings, for `jax.jit(..., out_shardings=)` and for restoring a checkpoint.
    """
    return map_with_names(
        lambda name, leaf: NamedSharding(mesh, partition_spec(name, leaf.shape, mesh, is_stacked(name))),
        abstract_tree,
    )


def partition_spec(name: str, shape: tuple[int, ...], mesh: Mesh, stacked: bool) -> PartitionSpec:
    """Makes the partition of one array: by the tensor rules, then its largest divisible axis over `fsdp`.

    Args:
        name: Path of the array, joined by "/".
        shape: Its shape.
        mesh: Mesh from `make_mesh`.
        stacked: Whether its first axis counts layers. That axis is not split, since this would prevent scanning over
            it.

    Returns:
        For each axis, the axis of the mesh that it is split over, or None.
    """
    parts: list[str | None] = [None] * len(shape)
    free = list(range(1 if stacked else 0, len(shape)))
    if mesh.shape["tensor"] > 1:
        for pattern, axis in TENSOR_RULES:
            position = len(shape) + axis
            if position in free and re.search(pattern, name) and shape[axis] % mesh.shape["tensor"] == 0:
                parts[position] = "tensor"
                free.remove(position)
                break
    if mesh.shape["fsdp"] > 1 and math.prod(shape) >= SMALLEST_SPLIT:
        divisible = [position for position in free if shape[position] % mesh.shape["fsdp"] == 0]
        if divisible:
            parts[max(divisible, key=lambda position: shape[position])] = "fsdp"
    return PartitionSpec(*parts)


def place(tree: Any, shardings: Any) -> Any:
    """Places a tree on the devices of a mesh, from a whole copy in each process.

    Args:
        tree: Tree of arrays in host memory or on one of the process's devices, equal in all processes.
        shardings: Tree of their shardings.

    Returns:
        The tree of global arrays.
    """
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)

    def place_leaf(leaf: Any, sharding: NamedSharding) -> jax.Array:
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(place_leaf, tree, shardings)


def batch_parts(mesh: Mesh) -> int:
    """Returns the number of parts that a batch is split into, over `data` and `fsdp`.

    Args:
        mesh: Mesh from `make_mesh`.

    Returns:
        The number of parts.
    """
    parts: int = mesh.shape["data"] * mesh.shape["fsdp"]
    return parts


def check_batch_size(batch_size: int, parts: int) -> None:
    """Checks that a batch can be split into equal parts.

    Args:
        batch_size: Number of examples of a batch.
        parts: Number of devices that have examples of their own.

    Raises:
        ConfigError: The batch is no multiple of the parts.
    """
    if batch_size % parts:
        raise ConfigError(f"a batch of {batch_size} examples cannot be split over {parts} devices; take a multiple")


def held_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
    """Lists the rows of each batch that this process's devices hold.

    Processes whose devices share examples (along `tensor`) hold the same rows.

    Args:
        mesh: Mesh from `make_mesh`.
        batch_size: Number of examples of a batch over all processes.

    Returns:
        The indices of the rows, ascending.

    Raises:
        ConfigError: The batch cannot be split into equal parts.
    """
    parts = batch_parts(mesh)
    check_batch_size(batch_size, parts)
    return np.arange(batch_size).reshape(parts, -1)[_held_parts(mesh)].ravel()


def place_batch(batch: Any, mesh: Mesh) -> Any:
    """Places this process's examples on its devices, split over `data` and `fsdp`.

    Args:
        batch: Tree of host arrays, `[examples of held_rows, ...]`.
        mesh: Mesh from `make_mesh`.

    Returns:
        Tree of global arrays, `[examples of all processes, ...]`.

    Raises:
        ConfigError: The examples cannot be split into equal parts.
    """
    sharding = NamedSharding(mesh, EXAMPLES)
    if mesh.size == 1:
        return jax.device_put(batch, sharding)
    held, parts = _held_parts(mesh), batch_parts(mesh)

    def place_leaf(leaf: np.ndarray) -> jax.Array:
        size, odd = divmod(len(leaf), len(held))
        if odd:
            check_batch_size(len(leaf), len(held))

        def part(index: Any) -> np.ndarray:
            start = held.index((index[0].start or 0) // size) * size
            return leaf[start : start + size]

        return jax.make_array_from_callback((parts * size, *leaf.shape[1:]), sharding, part)

    return jax.tree.map(place_leaf, batch)


def _held_parts(mesh: Mesh) -> list[int]:
    """The indices of a batch's parts that this process's devices hold, ascending."""
    parts = NamedSharding(mesh, EXAMPLES)
    indices = parts.addressable_devices_indices_map((batch_parts(mesh),)).values()
    return sorted({index[0].start or 0 for index in indices if index is not None})


def split_examples(tree: T) -> T:
    """Keeps arrays split over their examples; without a mesh (`jax.set_mesh`) nothing changes.

    Without this constraint, XLA may move the activations of the whole batch to where a layer's parameters are,
    instead of gathering the parameters. Arrays whose rows cannot be split into equal parts are not constrained.

    Args:
        tree: Tree of arrays, `[examples, ...]`.

    Returns:
        The tree, constrained to the sharding of a batch.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not set(EXAMPLE_AXES) <= set(mesh.axis_names):
        return tree
    parts = math.prod(mesh.shape[axis] for axis in EXAMPLE_AXES)
    if parts == 1 and mesh.size == 1:
        return tree

    def split(leaf: jax.Array) -> jax.Array:
        return leaf if leaf.shape[0] % parts else jax.lax.with_sharding_constraint(leaf, EXAMPLES)

    kept: T = jax.tree.map(split, tree)
    return kept
