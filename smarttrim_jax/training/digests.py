"""Digests of arrays: 64 bits that change with every single bit of an array, and whether all of it is finite.

An array is taken as 32-bit words. A digest is two sums of these words modulo 2^32, each word times a weight that
depends on its place: a product of one odd number per axis. A product of odd numbers is odd, so one flipped bit, which
changes a word by plus or minus 2^k with k < 32, always changes both sums. Integer sums do not depend on their order:
the digest is the same however an array is split over devices and processes.

Arrays on accelerators, or of several processes, are summed where they lie; those in host memory by numpy, which
neither compiles nor copies them.
"""

import functools
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from smarttrim_jax.training.tree_paths import named_leaves

_SUMS = 2
_UNSIGNED = {1: "uint8", 2: "uint16", 4: "uint32", 8: "uint64"}


class Summary(NamedTuple):
    """What an array is checked by.

    Attributes:
        digest: 16 hexadecimal digits.
        finite: Whether it holds neither NaN nor infinity.
    """

    digest: str
    finite: bool


def summarize(tree: Any) -> dict[str, Summary]:
    """The summary of every array of a tree by its name; all processes call it alike and get the same.

    Args:
        tree: Arrays of JAX or numpy, of booleans, integers or real numbers.

    Returns:
        Summaries in the order of the tree.
    """
    sums = {name: _sums(leaf) for name, leaf in named_leaves(tree).items()}
    return {name: _summary(np.asarray(values)) for name, values in jax.device_get(sums).items()}


def not_finite(summaries: Mapping[str, Summary]) -> list[str]:
    """The names of the arrays that are not finite."""
    return [name for name, summary in summaries.items() if not summary.finite]


def digest_json(content: Any) -> str:
    """16 hexadecimal digits of what can be written as JSON, whatever the order of its keys."""
    # Read back first, since JSON knows no tuples and its keys are strings.
    text = json.dumps(json.loads(json.dumps(content)), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _summary(values: np.ndarray) -> Summary:
    *sums, bad = (int(value) for value in values)
    return Summary("".join(f"{value:08x}" for value in sums), not bad)


def _sums(leaf: Any) -> Any:
    """The sums of an array's words, and whether it holds a number that is not finite, as uint32 [3]."""
    if not isinstance(leaf, jax.Array):
        return _sum_words(np, np.asarray(leaf))
    on_host = leaf.is_fully_addressable and all(device.platform == "cpu" for device in leaf.devices())
    if on_host:
        return _sum_words(np, np.asarray(leaf))
    return _program(_everywhere(leaf.sharding))(leaf)


def _everywhere(sharding: Sharding) -> Sharding | None:
    """The sharding of a result that every process shall have."""
    return NamedSharding(sharding.mesh, PartitionSpec()) if isinstance(sharding, NamedSharding) else None


@functools.cache
def _program(sharding: Sharding | None) -> Any:
    return jax.jit(functools.partial(_sum_words, jnp), out_shardings=sharding)


def _sum_words(xp: Any, array: Any) -> Any:
    """The same for arrays of numpy (`xp` is numpy) and inside a program (`xp` is jax.numpy).

    Args:
        xp: The module of array functions.
        array: Any shape.

    Returns:
        uint32 [3].
    """
    words = _words(xp, array)
    inexact = jnp.issubdtype(array.dtype, jnp.inexact)
    bad = (~_all(xp, xp.isfinite(array))).astype(xp.uint32) if inexact else xp.uint32(0)
    return xp.stack([*(_weighted_sum(xp, words, number) for number in range(_SUMS)), bad])


def _words(xp: Any, array: Any) -> Any:
    """The array's bits as uint32; numbers of 64 bits get a last axis of two."""
    if array.dtype == bool:
        return array.astype(xp.uint32)
    if xp is np:
        bits = np.ascontiguousarray(array).reshape(array.shape).view(_UNSIGNED[array.dtype.itemsize])
        if array.dtype.itemsize == 8:
            return bits.view(np.uint32).reshape(*array.shape, 2) if array.ndim else bits[None].view(np.uint32)
        return bits.astype(np.uint32, copy=False)
    # XLA gives 64 bits as two words itself, in the same order.
    return jax.lax.bitcast_convert_type(array, _UNSIGNED[min(array.dtype.itemsize, 4)]).astype(jnp.uint32)


def _weighted_sum(xp: Any, words: Any, number: int) -> Any:
    """The sum of words times the weights of sum `number`, first axis first: so rows are added as wholes."""
    for axis in range(words.ndim):
        weights = _weights(xp, words.shape[0], number * 32 + axis)
        if xp is np:
            shape = words.shape[1:]
            # einsum needs no copy of the weighted words.
            words = np.einsum("i,ij->j", weights, words.reshape(len(weights), math.prod(shape))).reshape(shape)
        else:
            words = jnp.sum(words * weights.reshape(-1, *[1] * (words.ndim - 1)), axis=0, dtype=jnp.uint32)
    return words


def _weights(xp: Any, size: int, seed: int) -> Any:
    """`size` odd numbers below 2^32 without a pattern (the steps of a multiplicative hash)."""
    mixed = xp.arange(size, dtype=xp.uint32) * np.uint32(0x9E3779B1) + np.uint32((seed * 0x85EBCA6B + 1) % 2**32)
    mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    mixed = (mixed ^ (mixed >> np.uint32(12))) * np.uint32(0x297A2D39)
    return (mixed ^ (mixed >> np.uint32(15))) | np.uint32(1)


def _all(xp: Any, flags: Any) -> Any:
    """Whether all flags are set, first axis first, which XLA's CPU code does much faster than all axes at once."""
    if xp is np:
        return np.asarray(flags.all())
    for _ in range(flags.ndim):
        flags = flags.all(axis=0)
    return flags
