"""Digests of arrays: 64 bits that change with every single bit of an array, and whether all of it is finite.

An array is taken as 32-bit words. A digest is two sums of these words modulo 2^32, each word times a weight that
depends on its place: a product of one odd number per axis. A product of odd numbers is odd, so one flipped bit, which
changes a word by plus or minus 2^k with k < 32, always changes both sums. Integer sums do not depend on their order:
the digest is the same however an array is split over devices and processes.

Every shard is summed where it lies: on accelerators by a program, in host memory by numpy, which neither compiles nor
copies it. Processes then exchange sums once, for all arrays. A program that sums a whole array would let devices talk
once per array, and hundreds of such programs under way at once can wait for each other for ever.
"""

import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from smarttrim_jax.tree_paths import named_leaves

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
    leaves = named_leaves(tree)
    parts = jax.device_get([_sums_of_parts(leaf) for leaf in leaves.values()])
    sums = np.array([np.sum(part, axis=0, dtype=np.uint32) for part in parts]).reshape(-1, _SUMS + 1)
    split = [isinstance(leaf, jax.Array) and not leaf.is_fully_addressable for leaf in leaves.values()]
    if any(split):
        everyones = np.asarray(multihost_utils.process_allgather(sums[split]))
        sums[split] = everyones.sum(axis=0, dtype=np.uint32)
    return {name: _summary(values) for name, values in zip(leaves, sums, strict=True)}


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


def _sums_of_parts(leaf: Any) -> list[Any]:
    """Of every part of an array that this process answers for: the sums of its words, and whether it is not finite.

    Returns:
        uint32 [3] for each part. No parts at all are sums of 0.
    """
    if not isinstance(leaf, jax.Array):
        return [_sum_words(np, np.asarray(leaf), (0,) * np.ndim(leaf))]
    sums = [np.zeros(_SUMS + 1, np.uint32)]
    for shard in leaf.addressable_shards:
        if shard.replica_id == 0:
            first = tuple(part.start or 0 for part in shard.index)
            on_host = shard.device.platform == "cpu"
            sums.append(_sum_words(np, np.asarray(shard.data), first) if on_host else _program(shard.data, first))
    return sums


def _sum_words(xp: Any, array: Any, first: Sequence[Any]) -> Any:
    """The sums of an array's words, and whether it is not finite, by numpy or inside a program.

    Args:
        xp: The module of array functions, numpy or jax.numpy.
        array: Any shape.
        first: The place of its first element in the whole array, an integer per axis.

    Returns:
        uint32 [3].
    """
    words = _words(xp, array)
    inexact = jnp.issubdtype(array.dtype, jnp.inexact)
    bad = (~_all(xp, xp.isfinite(array))).astype(xp.uint32) if inexact else xp.uint32(0)
    return xp.stack([*(_weighted_sum(xp, words, first, number) for number in range(_SUMS)), bad])


_program = jax.jit(functools.partial(_sum_words, jnp))


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


def _weighted_sum(xp: Any, words: Any, first: Sequence[Any], number: int) -> Any:
    """The sum of words times the weights of sum `number`, first axis first: so rows are added as wholes."""
    for axis in range(words.ndim):
        start = first[axis] if axis < len(first) else 0  # numbers of 64 bits have one axis more
        weights = _weights(xp, start, words.shape[0], number * 32 + axis)
        if xp is np:
            shape = words.shape[1:]
            # einsum needs no copy of the weighted words.
            words = np.einsum("i,ij->j", weights, words.reshape(len(weights), math.prod(shape))).reshape(shape)
        else:
            words = jnp.sum(words * weights.reshape(-1, *[1] * (words.ndim - 1)), axis=0, dtype=jnp.uint32)
    return words


def _weights(xp: Any, start: Any, size: int, seed: int) -> Any:
    """`size` odd numbers below 2^32 without a pattern, from number `start` on.

    The steps are those of a multiplicative hash.
    """
    places = xp.arange(size, dtype=xp.uint32) + xp.asarray(start).astype(xp.uint32)
    mixed = places * np.uint32(0x9E3779B1) + np.uint32((seed * 0x85EBCA6B + 1) % 2**32)
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
