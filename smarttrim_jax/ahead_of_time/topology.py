"""TPU slices that this machine does not have: their devices, to compile for, and the figures of their chips."""

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
    """Figures of a chip, or of the part of it that is a device.

    Attributes:
        memory: Bytes of high-bandwidth memory.
        flops: Peak floating-point operations per second in bfloat16.
        bandwidth: Bytes per second that it sends to its neighbours in the slice, by all its links together.
    """

    memory: int
    flops: float
    bandwidth: float


# Chips by the beginning of the device kind; figures from Google's system architecture pages.
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
        name: Kind and shape, for example "v5e:16x16".
        devices: Devices for `jax.sharding.Mesh`.
        chip: Figures of each device; None where the kind is not known.
    """

    name: str
    devices: tuple[Any, ...]
    chip: Chip | None

    @property
    def dimensions(self) -> int:
        """Number of axes of the torus with more than one chip, at least 1."""
        return max(sum(side > 1 for side in _sides(self.name)), 1)

    def to_dict(self) -> dict[str, Any]:
        """Converts what is known of the slice to a JSON-ready dict."""
        return {
            "topology": self.name,
            "device": self.devices[0].device_kind,
            "devices": len(self.devices),
            "chip": self.chip and dataclasses.asdict(self.chip),
        }


def open_slice(name: str) -> Slice:
    """Finds a slice by its name.

    Args:
        name: Kind and shape, for example "v5e:16x16" or "v5p:4x4x4".

    Returns:
        The slice.

    Raises:
        ConfigError: The compiler for TPUs is not installed, or does not know such a slice.
    """
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # Without a TPU there is no metadata server.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # Several processes may compile at once.
    if importlib.util.find_spec("libtpu") is None:
        raise ConfigError("the compiler for TPUs is not installed; pip install -e '.[aot]' brings it")
    try:
        devices: tuple[Any, ...] = tuple(topologies.get_topology_desc(platform="tpu", topology_name=name).devices)
    except Exception as error:  # JAX passes on any exception of the plugin.
        raise ConfigError(f"no TPU slice '{name}': {str(error).splitlines()[0]}") from error
    kinds = [kind for kind in CHIPS if devices[0].device_kind.startswith(kind)]
    if not kinds:
        return Slice(name, devices, None)
    whole, share = CHIPS[max(kinds, key=len)], math.prod(_sides(name)) / len(devices)
    chip = Chip(round(whole.memory * share), whole.flops * share, whole.bandwidth * share)
    return Slice(name, devices, chip)


def _sides(name: str) -> list[int]:
    return [int(side) for side in name.rpartition(":")[2].split("x")]
