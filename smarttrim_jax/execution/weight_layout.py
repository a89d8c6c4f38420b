"""How programs of single layers hold their weights.

On CPUs kernels lie transposed: XLA's matrix product there reads `[outputs, inputs]` up to twice as fast where rows
are few (a text, one example), and as fast where they are many.
"""

from typing import Any

import jax


def store(params: Any) -> Any:
    """A layer's parameters as its programs take them."""
    return _turn(params) if _lies_transposed() else params


def restore(stored: Any) -> Any:
    """What `store` was given; inside a program it costs nothing."""
    return _turn(stored) if _lies_transposed() else stored


def _turn(params: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.T if leaf.ndim == 2 else leaf, params)


def _lies_transposed() -> bool:
    return jax.default_backend() == "cpu"
