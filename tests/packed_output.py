"""A coarse ladder of sizes and few cuts, which compile fast, and what packed shares with padded execution."""

import jax
import numpy as np

from smarttrim_jax.execution import CutConfig, ExecutionConfig

COARSE = ExecutionConfig(
    length_growth=3.0, capacity_growth=3.0, max_buckets=100, cuts=CutConfig(first=1, most=2, branches=1)
)


def same(packed, padded, rows=None, atol=1e-5):
    """The same decisions and logits, of all examples or of some."""
    rows = slice(None) if rows is None else rows
    packed, padded = jax.device_get((packed, padded))
    for name, expected in padded.logits.items():
        np.testing.assert_allclose(packed.logits[name], expected[rows], atol=atol)
    for name, gates in padded.record.gates.items():
        ours = packed.record.gates[name]
        for part in ("tokens", "heads", "cross_heads"):
            if getattr(gates, part) is not None:
                np.testing.assert_array_equal(getattr(ours, part), getattr(gates, part)[:, rows], err_msg=name)
