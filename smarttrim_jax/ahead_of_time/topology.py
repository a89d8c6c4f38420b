"""TPU slices that are not there: their devices, to compile for, and what their chips can do."""

import dataclasses
import importlib.util
import math
import os
from typing import Any

from jax.experimental import topologies

from smarttrim_jax.errors import ConfigError

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """What a chip has, or the part of it that is a device.

    Attributes:
        memory: bytes of high-bandwidth memory.
        flops: a second in bfloat16, at its peak.
        bandwidth: bytes a second that it sends to its neighbours in the slice, by all its links.
    """

    memory: int
    flops: float
    bandwidth: float


# By the start of the device kind; from Google's system architecture pages.
CHIPS = {
    "TPU v4": Chip(32 * GIB, 275e12, 300e9),
    "TPU v5 lite": Chip(16 * GIB, 197e12, 200e9),
    "TPU v5": Chip(95 * GIB, 459e12, 600e9),
    "TPU v6 lite": Chip(32 * GIB, 918e12, 400e9),
    "TPU7x": Chip(192 * GIB, 2307e12, 600e9),
}


@dataclasses.dataclass(frozen=True)
class Slice:
    """Chips that are wired together.

    Attributes:
        name: kind and shape, as in "v5e:16x16".
        devices: as `jax.sharding.Mesh` takes them.
        chip: what each of the devices has; None where the kind is not known.
    """

    name: str
    devices: tuple[Any, ...]
    chip: Chip | None

    @property
    def dimensions(self) -> int:
        """Of the torus: of its axes with more than one chip."""
        return max(sum(side > 1 for side in _sides(self.name)), 1)


def open_slice(name: str) -> Slice:
    """The slice of this name.

    Args:
        name: kind and shape, as in "v5e:16x16" or "v5p:4x4x4".

    Raises:
        ConfigError: the compiler for TPUs is not installed, or knows no such slice.
    """
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # there is no metadata server beside no TPU
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # several may compile at once
    if importlib.util.find_spec("libtpu") is None:
        raise ConfigError("the compiler for TPUs is not installed; pip install -e '.[aot]' brings it")
    try:
        devices: tuple[Any, ...] = tuple(topologies.get_topology_desc(platform="tpu", topology_name=name).devices)
    except Exception as error:  # the library raises whatever the plugin does
        raise ConfigError(f"no TPU slice '{name}': {str(error).splitlines()[0]}") from error
    kinds = [kind for kind in CHIPS if devices[0].device_kind.startswith(kind)]
    if not kinds:
        return Slice(name, devices, None)
    whole, share = CHIPS[max(kinds, key=len)], math.prod(_sides(name)) / len(devices)
    chip = Chip(round(whole.memory * share), whole.flops * share, whole.bandwidth * share)
    return Slice(name, devices, chip)


def _sides(name: str) -> list[int]:
    return [int(side) for side in name.rpartition(":")[2].split("x")]
