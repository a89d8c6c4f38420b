"""Checks which attention kernel computes correct results on this device, before any model is compiled with it."""

import dataclasses
import functools
from collections.abc import Callable
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
    """Compares the device's own attention kernel, `auto`, with plain JAX, in bfloat16.

    Returns:
        For `padded` and `packed` tokens, and for the gradients of `training`, the `error` relative to the largest
        value and whether the kernels agree (`agrees`); or, under `raised`, the exception of the kernel.
    """
    random = np.random.default_rng(0)
    gate = random.random((EXAMPLES, TOKENS)) < np.linspace(0.2, 0.9, EXAMPLES)[:, None]
    values = random.normal(size=(EXAMPLES, TOKENS, 3 * HEADS * HEAD_WIDTH))
    padded = Padded(jnp.asarray(values, jnp.bfloat16), jnp.asarray(gate, jnp.float32))
    longest = int(np.max(gate.sum(axis=1)))
    layouts = {"padded": padded, "packed": compact(padded, int(gate.sum()) + 7, longest)}
    errors = {name: _error(functools.partial(_mixed, tokens)) for name, tokens in layouts.items()}
    return errors | {"training": _error(functools.partial(_gradients, padded))}


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


def _split(tokens: Any) -> list[jax.Array]:
    """Queries, keys and values, `[..., heads, head_width]`."""
    parts = jnp.split(tokens.values, 3, axis=-1)
    return [part.reshape(*part.shape[:-1], HEADS, HEAD_WIDTH) for part in parts]


def _mixed(tokens: Any, kernel: Kernel) -> list[Any]:
    """The results of the open tokens, `[open tokens, heads, head_width]`."""
    program = jax.jit(lambda *arrays: attend(*arrays, kernel=kernel))
    return [program(tokens, *_split(tokens))[np.asarray(tokens.gate) > 0]]


def _gradients(tokens: Padded, kernel: Kernel) -> list[Any]:
    """The gradients of the gates, queries, keys and values in training, of results that count differently."""

    def total(gate: jax.Array, query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        own = dataclasses.replace(tokens, gate=gate)
        mixed = attend(own, query, key, value, training=True, kernel=kernel)
        return jnp.sum(jnp.sin(jnp.arange(mixed.size, dtype=jnp.float32)).reshape(mixed.shape) * mixed)

    return list(jax.jit(jax.grad(total, argnums=(0, 1, 2, 3)))(tokens.gate, *_split(tokens)))


def _error(compute: Callable[[Kernel], list[Any]]) -> dict[str, Any]:
    """Compares what a function gives with the kernels `auto` and `xla`; see `attention_errors`."""
    try:
        pairs = [
            (np.asarray(own, np.float32), np.asarray(plain, np.float32))
            for own, plain in zip(compute("auto"), compute("xla"), strict=True)
        ]
    except Exception as error:
        return {"raised": f"{type(error).__name__}: {error}".split("\n")[0][:300]}
    distance = float(np.max([np.max(np.abs(own - plain)) / np.max(np.abs(plain)) for own, plain in pairs]))
    if not np.isfinite(distance):
        return {"raised": "the results are not finite"}
    return {"error": distance, "agrees": distance < TOLERANCE}
