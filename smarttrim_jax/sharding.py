"""Where arrays lie on many devices: a mesh, and rules from parameter names to partitions.

Layers know nothing of this; XLA inserts the collectives. One device is a mesh of size 1.
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
"""Of the mesh: each of their devices has examples of its own."""
EXAMPLES = PartitionSpec(EXAMPLE_AXES)
"""How a batch, and every array that has a row for each example, is split."""
AXES = (*EXAMPLE_AXES, "tensor")
# Tensor parallelism splits the inner side of attention and of the MLP: (name, axis from the end).
TENSOR_RULES = (
    (r"attention/(query|key|value)/(kernel|bias)$", -1),
    (r"attention/out/kernel$", -2),
    (r"mlp/up/(kernel|bias)$", -1),
    (r"mlp/down/kernel$", -2),
)
# Gathering a smaller array costs more than keeping it.
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
    """A mesh with axes `data`, `fsdp` and `tensor`.

    Over several TPU slices, `data` alone crosses the network between them: gradients are summed over it once a step.

    Args:
        config: sizes of the axes.
        devices: all that there are by default.

    Raises:
        ConfigError: the sizes do not use every device exactly once, or `data` does not divide over the slices.
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
    """Devices along `data`, `fsdp` and `tensor`, once -1 is counted out.

    Args:
        config: sizes of the axes.
        count: devices of all slices together.
        slices: TPU slices that the devices belong to.

    Raises:
        ConfigError: the sizes do not use every device exactly once, or `data` does not divide over the slices.
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
    """Whether a mesh uses every device that there is exactly once."""
    return _use_all(_sizes(config, jax.device_count()), jax.device_count())


def _sizes(config: MeshConfig, count: int) -> tuple[int, int, int]:
    """Devices along each axis, what is left to `data` counted out."""
    inner = config.fsdp * config.tensor
    data = count // inner if config.data == -1 and inner > 0 else config.data
    return data, config.fsdp, config.tensor


def _use_all(sizes: tuple[int, int, int], count: int) -> bool:
    return min(sizes) >= 1 and math.prod(sizes) == count


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def state_shardings(abstract_tree: Any, mesh: Mesh, is_stacked: Callable[[str], bool]) -> Any:
    """The sharding of every array of a state.

    Args:
        abstract_tree: arrays or their shapes. The optimizer's moments end in their parameter's name and so
            follow the same rule.
        mesh: from `make_mesh`.
        is_stacked: Whether a parameter holds all layers of a kind (`ModelConfig.is_stacked`).

    Returns:
        The tree of shardings, for `jax.jit(..., out_shardings=)` and for restoring a checkpoint.
    """
    return map_with_names(
        lambda name, leaf: NamedSharding(mesh, partition_spec(name, leaf.shape, mesh, is_stacked(name))),
        abstract_tree,
    )


def partition_spec(name: str, shape: tuple[int, ...], mesh: Mesh, stacked: bool) -> PartitionSpec:
    """How one array is split: by the tensor rules, then the largest divisible dimension over `fsdp`.

    Args:
        name: The "/"-joined path of the array.
        shape: Its shape.
        mesh: From `make_mesh`.
        stacked: Whether its first axis counts layers, which stays whole: split, it would stop the scan over them.

    Returns:
        For every axis the axis of the mesh that it is split over, or None.
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
    """Puts a tree that every process holds whole, in host memory or on a device of its own, where it belongs.

    Args:
        tree: of arrays.
        shardings: the tree of their shardings.
    """
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings)

    def place_leaf(leaf: Any, sharding: NamedSharding) -> jax.Array:
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(place_leaf, tree, shardings)


def batch_parts(mesh: Mesh) -> int:
    """Into how many parts a batch is split: over `data` and `fsdp`."""
    return mesh.shape["data"] * mesh.shape["fsdp"]


def check_batch_size(batch_size: int, parts: int) -> None:
    """Whether a batch can be split into equal parts.

    Args:
        batch_size: examples of a batch.
        parts: devices that have examples of their own.

    Raises:
        ConfigError: it cannot.
    """
    if batch_size % parts:
        raise ConfigError(f"a batch of {batch_size} examples cannot be split over {parts} devices; take a multiple")


def held_rows(mesh: Mesh, batch_size: int) -> np.ndarray:
    """The rows of every batch that this process's devices hold, ascending.

    Processes whose devices share examples (along `tensor`) hold the same rows.

    Args:
        mesh: from `make_mesh`.
        batch_size: examples of a batch over all processes.

    Raises:
        ConfigError: the examples do not divide evenly.
    """
    parts = batch_parts(mesh)
    check_batch_size(batch_size, parts)
    return np.arange(batch_size).reshape(parts, -1)[_held_parts(mesh)].ravel()


def place_batch(batch: Any, mesh: Mesh) -> Any:
    """Puts this process's examples on its devices, split over `data` and `fsdp`.

    Args:
        batch: tree of host arrays [examples of `held_rows`, ...].
        mesh: from `make_mesh`.

    Returns:
        Tree of global arrays [examples of all processes, ...].

    Raises:
        ConfigError: the examples do not divide evenly.
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
    """The parts of every batch that lie on this process's devices, ascending."""
    parts = NamedSharding(mesh, EXAMPLES)
    indices = parts.addressable_devices_indices_map((batch_parts(mesh),)).values()
    return sorted({index[0].start or 0 for index in indices if index is not None})


def split_examples(tree: T) -> T:
    """Keeps arrays `[examples, ...]` split over their examples; without a mesh (`jax.set_mesh`) nothing changes.

    Left alone, XLA may move activations of the whole batch to where a layer's parameters are, instead of the other
    way round. Arrays whose rows do not divide evenly are left to it.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not set(EXAMPLE_AXES) <= set(mesh.axis_names):
        return tree
    parts = math.prod(mesh.shape[axis] for axis in EXAMPLE_AXES)
    if parts == 1 and mesh.size == 1:
        return tree

    def split(leaf: jax.Array) -> jax.Array:
        return leaf if leaf.shape[0] % parts else jax.lax.with_sharding_constraint(leaf, EXAMPLES)

    return jax.tree.map(split, tree)
