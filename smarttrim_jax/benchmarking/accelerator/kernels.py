"""Checks which attention kernel computes correct results on this device, before any model is compiled with it."""

from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np

from smarttrim_jax.tokens import Kernel, Padded, compact
from smarttrim_jax.tokens.attention import attend

EXAMPLES, TOKENS, HEADS, HEAD_WIDTH = 4, 577, 12, 64
TOLERANCE = 3e-2
"""Largest accepted difference between results in bfloat16, relative to the largest value."""


def attention_errors() -> dict[str, dict[str, Any]]:
    """Compares the device's own attention kernel, `auto`, with plain JAX, on padded and packed tokens in bfloat16.

    Returns:
        By layout, the `error` relative to the largest value and whether the kernels agree (`agrees`); or, under
        `raised`, the exception of the kernel.
    """
    random = np.random.default_rng(0)
    gate = random.random((EXAMPLES, TOKENS)) < np.linspace(0.2, 0.9, EXAMPLES)[:, None]
    values = random.normal(size=(EXAMPLES, TOKENS, 3 * HEADS * HEAD_WIDTH))
    padded = Padded(jnp.asarray(values, jnp.bfloat16), jnp.asarray(gate, jnp.float32))
    longest = int(np.max(gate.sum(axis=1)))
    layouts = {"padded": padded, "packed": compact(padded, int(gate.sum()) + 7, longest)}
    return {name: _error(tokens) for name, tokens in layouts.items()}


def usable_kernel(asked: Kernel, errors: dict[str, dict[str, Any]]) -> Kernel:
    """Chooses the kernel to measure with.

    Args:
        asked: Kernel that was asked for.
        errors: Result of `attention_errors`.

    Returns:
        The kernel that was asked for; "xla" (plain JAX) where `auto` was asked for and is not correct.
    """
    assert asked in get_args(Kernel)
    return "xla" if asked == "auto" and not all(error.get("agrees") for error in errors.values()) else asked


def _error(tokens: Any) -> dict[str, Any]:
    parts = jnp.split(tokens.values, 3, axis=-1)
    query, key, value = (part.reshape(*part.shape[:-1], HEADS, HEAD_WIDTH) for part in parts)

    def mixed(kernel: Kernel) -> np.ndarray:
        """Attends with a kernel.

        Args:
            kernel: Name of the kernel.

        Returns:
            Results of the open tokens, `[open tokens, heads, width]`.
        """
        program = jax.jit(lambda *arrays: attend(*arrays, kernel=kernel))
        return np.asarray(program(tokens, query, key, value), np.float32)[np.asarray(tokens.gate) > 0]

    try:
        own, plain = mixed("auto"), mixed("xla")
    except Exception as error:
        return {"raised": f"{type(error).__name__}: {error}".split("\n")[0][:300]}
    distance = float(np.max(np.abs(own - plain)) / np.max(np.abs(plain)))
    if not np.isfinite(distance):
        return {"raised": "the results are not finite"}
    return {"error": distance, "agrees": distance < TOLERANCE}
