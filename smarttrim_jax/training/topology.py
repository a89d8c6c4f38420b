"""TPU slices that are not there: their devices, to compile for, and what their chips hold."""

import importlib.util
import math
import os
from typing import Any

from jax.experimental import topologies

from smarttrim_jax.errors import ConfigError

# Bytes of high-bandwidth memory of a chip, by the start of its device kind (Google's system architecture pages).
GIB = 2**30
MEMORY = {
    "TPU v4": 32 * GIB,
    "TPU v5 lite": 16 * GIB,
    "TPU v5": 95 * GIB,
    "TPU v6 lite": 32 * GIB,
    "TPU7x": 192 * GIB,
}


def slice_devices(name: str) -> list[Any]:
    """The devices of a slice, as `jax.sharding.Mesh` takes them.

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
        return list(topologies.get_topology_desc(platform="tpu", topology_name=name).devices)
    except Exception as error:  # the library raises whatever the plugin does
        raise ConfigError(f"no TPU slice '{name}': {str(error).splitlines()[0]}") from error


def device_memory(name: str, devices: list[Any]) -> int:
    """Bytes that belong to a device of a slice, which is a chip or a part of one; 0 where that is not known."""
    kinds = [kind for kind in MEMORY if devices[0].device_kind.startswith(kind)]
    chips = math.prod(int(side) for side in name.rpartition(":")[2].split("x"))
    return MEMORY[max(kinds, key=len)] * chips // len(devices) if kinds else 0
