"""Where arrays lie on many devices: a mesh, and rules from parameter names to partitions.

Layers know nothing of this; XLA inserts the collectives. One device is a mesh of size 1.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.training.tree_paths import map_with_names

AXES = ("data", "fsdp", "tensor")
# Tensor parallelism splits the inner side of attention and of the MLP: (name, axis from the end).
TENSOR_RULES = (
    (r"attention/(query|key|value)/(kernel|bias)$", -1),
    (r"attention/out/kernel$", -2),
    (r"mlp/up/(kernel|bias)$", -1),
    (r"mlp/down/kernel$", -2),
)
# Layers of a kind are stacked for the scan over them: splitting their first axis would stop the scan.
STACKED = r"(^|/)(layers|merge_layers|fusion_text|fusion_image|trimmers)/"
# Gathering a smaller array costs more than keeping it.
SMALLEST_SPLIT = 2**14


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis of the mesh; -1 for `data` takes all that the others leave.

    Args:
        data: copies of the model, each with its own examples.
        fsdp: devices over which each copy's parameters are split, each with its own examples too.
        tensor: devices that share the heads and the MLP of each layer.
    """

    data: int = -1
    fsdp: int = 1
    tensor: int = 1


def make_mesh(config: MeshConfig, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with axes `data`, `fsdp` and `tensor`.

    Args:
        config: sizes of the axes.
        devices: all that there are by default.

    Raises:
        ConfigError: the sizes do not use every device exactly once.
    """
    count = jax.device_count() if devices is None else len(devices)
    inner = config.fsdp * config.tensor
    data = count // inner if config.data == -1 and inner > 0 else config.data
    if min(data, config.fsdp, config.tensor) < 1 or data * inner != count:
        raise ConfigError(
            f"a mesh of data={config.data}, fsdp={config.fsdp}, tensor={config.tensor} does not fit "
            f"{count} devices; their product must be {count} (data=-1 takes what is left)"
        )
    sizes = (data, config.fsdp, config.tensor)
    return jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def state_shardings(abstract_tree: Any, mesh: Mesh) -> Any:
    """The sharding of every array of a state.

    Args:
        abstract_tree: arrays or their shapes. The optimizer's moments end in their parameter's name and so
            follow the same rule.
        mesh: from `make_mesh`.

    Returns:
        The tree of shardings, for `jax.jit(..., out_shardings=)` and for restoring a checkpoint.
    """
    return map_with_names(
        lambda name, leaf: NamedSharding(mesh, partition_spec(name, leaf.shape, mesh)), abstract_tree
    )


def partition_spec(name: str, shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """How one array is split: by the tensor rules, then the largest divisible dimension over `fsdp`."""
    parts: list[str | None] = [None] * len(shape)
    free = list(range(1 if re.search(STACKED, name) else 0, len(shape)))
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


def place_batch(batch: Any, mesh: Mesh) -> Any:
    """Puts this process's examples on its devices, split over `data` and `fsdp`.

    Args:
        batch: tree of host arrays [examples of this process, ...].
        mesh: from `make_mesh`.

    Returns:
        Tree of global arrays [examples of all processes, ...].

    Raises:
        ConfigError: the examples do not divide evenly.
    """
    sharding = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
    if mesh.size == 1:
        return jax.device_put(batch, sharding)
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    for leaf in jax.tree.leaves(batch):
        examples = leaf.shape[0] * jax.process_count()
        if examples % parts:
            raise ConfigError(f"a batch of {examples} examples cannot be split over {parts} devices; take a multiple")
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), batch)
