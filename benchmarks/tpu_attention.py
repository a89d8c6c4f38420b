"""The work of attention over packed tokens on a TPU, by two kernels, from their compiled programs.

    python benchmarks/tpu_attention.py --topology=v5e:1x1 --output=FILE.json

"splash" unpacks the tokens to one row per example, as long as the longest may be; "flash" reads them where they lie.
The shapes are those of image tokens in METER and BLIP base at 384 px, self-attention in bfloat16, at the branches of
the exported program; examples are equally long.
"""

import argparse
import importlib.metadata
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from smarttrim_jax.ahead_of_time.serving import EXECUTION
from smarttrim_jax.ahead_of_time.topology import open_slice
from smarttrim_jax.ahead_of_time.work import count_work
from smarttrim_jax.benchmarking.origin import origin, write_figures
from smarttrim_jax.execution.cuts import UNEVEN, spread_shares
from smarttrim_jax.tokens import Packed
from smarttrim_jax.tokens.attention.flash import mix_flash
from smarttrim_jax.tokens.attention.splash import mix_splash
from smarttrim_jax.tokens.rounding import round_up

LENGTH, HEADS, HEAD_WIDTH = 577, 12, 64


def by_row(tokens: Packed, keys: Packed, query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Attention by the splash kernel; arguments as those of `mix_flash`."""
    return tokens.unrow(mix_splash(tokens.rows(query), keys.rows(key), keys.rows(value), keys.row_gate))


KERNELS: dict[str, Callable[..., jax.Array]] = {"splash": by_row, "flash": mix_flash}


def main() -> None:
    """Compiles and counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topology", default="v5e:1x1", help="kind and shape of the slice, one chip of which counts")
    parser.add_argument("--output", required=True, help="file of the figures, as JSON")
    flags = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")  # Otherwise JAX would wait for devices of this machine.
    where = open_slice(flags.topology)
    source = origin("python benchmarks/tpu_attention.py", libtpu=importlib.metadata.version("libtpu"))
    here = SingleDeviceSharding(where.devices[0])

    def line(*sides: int, dtype: Any = jnp.int32) -> Any:
        return jax.ShapeDtypeStruct(sides, dtype, sharding=here)

    rows = []
    for batch in (1, 8, 64):
        for share in (*spread_shares(EXECUTION.cuts), 1.0):
            packed = min(round_up(share * LENGTH * batch, EXECUTION.multiple), LENGTH * batch)
            capacity = packed if batch == 1 else min(round_up(UNEVEN * share * LENGTH, EXECUTION.multiple), LENGTH)
            gate, parts = line(packed, dtype=jnp.float32), line(packed, HEADS, HEAD_WIDTH, dtype=jnp.bfloat16)
            tokens = Packed(parts, gate, line(packed), line(packed), line(batch), capacity, LENGTH)
            for name, kernel in KERNELS.items():
                compiled = jax.jit(kernel).lower(tokens, tokens, parts, parts, parts).compile()
                work = count_work(compiled.as_text() or "")
                shape = {"batch_size": batch, "branch": share, "packed_length": packed, "row_capacity": capacity}
                rows.append({**shape, "kernel": name, "flops": work.flops, "bytes": work.bytes})
    write_figures(flags.output, source | where.to_dict() | {"results": rows})


if __name__ == "__main__":
    main()
