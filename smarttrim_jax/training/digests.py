"""Digests of arrays: 64 bits that change with every single bit of an array, and whether all of it is finite.

An array is read as 32-bit words. A digest consists of two sums of these words modulo 2^32, each word times a weight
that depends on its position: a product of one odd number per axis. A product of odd numbers is odd, so one flipped
bit, which changes a word by plus or minus 2^k with k < 32, always changes both sums. Integer sums do not depend on
their order: the digest is the same however an array is split over devices and processes.

Every shard is summed where it lies: on accelerators by a program, in host memory by NumPy, which neither compiles nor
copies it. Processes then exchange sums once, for all arrays. A program that sums a whole array would need a
collective operation per array, and hundreds of such programs in flight can deadlock.
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
        finite: Whether the array holds neither NaN nor infinity.
    """

    digest: str
    finite: bool


def summarize(tree: Any) -> dict[str, Summary]:
    """Computes the summary of every array of a tree.

    All processes must call it with their shards of the same arrays, and all get the same result.

    Args:
        tree: Arrays of JAX or NumPy: booleans, integers or real numbers.

    Returns:
        Summary of each array by its name (its path in the tree), in the order of the tree.
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
    """Lists the arrays that are not finite.

    Args:
        summaries: Summary of each array by name.

    Returns:
        Names of arrays that hold NaN or infinity.
    """
    return [name for name, summary in summaries.items() if not summary.finite]


def digest_json(content: Any) -> str:
    """Computes a digest of JSON-ready content; the order of keys does not matter.

    Args:
        content: Anything that can be written as JSON.

    Returns:
        16 hexadecimal digits (BLAKE2b of 64 bits).
    """
    # Written and read back first, since JSON turns tuples into lists and keys into strings.
    text = json.dumps(json.loads(json.dumps(content)), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _summary(values: np.ndarray) -> Summary:
    *sums, bad = (int(value) for value in values)
    return Summary("".join(f"{value:08x}" for value in sums), not bad)


def _sums_of_parts(leaf: Any) -> list[Any]:
    """Sums the words of every shard that this process answers for, and finds out whether it is finite.

    Each shard is counted once over all processes: replicas other than the first are left out.

    Returns:
        Arrays uint32 `[3]`, one per shard: two weighted sums, and 1 if the shard is not finite. One array of zeros
        comes first for JAX arrays.
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
    """Sums an array's words and finds out whether it is finite, by NumPy or inside a program.

    Args:
        xp: Module of array functions, `numpy` or `jax.numpy`.
        array: Array of any shape.
        first: Position of its first element in the whole array, one integer per axis.

    Returns:
        uint32 `[3]`: two weighted sums, and 1 if the array is not finite.
    """
    words = _words(xp, array)
    inexact = jnp.issubdtype(array.dtype, jnp.inexact)
    bad = (~_all(xp, xp.isfinite(array))).astype(xp.uint32) if inexact else xp.uint32(0)
    return xp.stack([*(_weighted_sum(xp, words, first, number) for number in range(_SUMS)), bad])


_program = jax.jit(functools.partial(_sum_words, jnp))


def _words(xp: Any, array: Any) -> Any:
    """Reinterprets an array's bits as uint32; 64-bit numbers become two words along a new last axis."""
    if array.dtype == bool:
        return array.astype(xp.uint32)
    if xp is np:
        bits = np.ascontiguousarray(array).reshape(array.shape).view(_UNSIGNED[array.dtype.itemsize])
        if array.dtype.itemsize == 8:
            return bits.view(np.uint32).reshape(*array.shape, 2) if array.ndim else bits[None].view(np.uint32)
        return bits.astype(np.uint32, copy=False)
    # XLA's bitcast gives 64-bit numbers as two words itself, in the same order.
    return jax.lax.bitcast_convert_type(array, _UNSIGNED[min(array.dtype.itemsize, 4)]).astype(jnp.uint32)


def _weighted_sum(xp: Any, words: Any, first: Sequence[Any], number: int) -> Any:
    """Sums words times the weights number `number`, the first axis first, so that whole rows are added."""
    for axis in range(words.ndim):
        start = first[axis] if axis < len(first) else 0  # 64-bit numbers have one axis more.
        weights = _weights(xp, start, words.shape[0], number * 32 + axis)
        if xp is np:
            shape = words.shape[1:]
            # einsum needs no copy of the weighted words.
            words = np.einsum("i,ij->j", weights, words.reshape(len(weights), math.prod(shape))).reshape(shape)
        else:
            words = jnp.sum(words * weights.reshape(-1, *[1] * (words.ndim - 1)), axis=0, dtype=jnp.uint32)
    return words


def _weights(xp: Any, start: Any, size: int, seed: int) -> Any:
    """Computes `size` odd pseudo-random numbers below 2^32, for the positions from `start` on.

    The steps are those of a multiplicative hash.
    """
    places = xp.arange(size, dtype=xp.uint32) + xp.asarray(start).astype(xp.uint32)
    mixed = places * np.uint32(0x9E3779B1) + np.uint32((seed * 0x85EBCA6B + 1) % 2**32)
    mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    mixed = (mixed ^ (mixed >> np.uint32(12))) * np.uint32(0x297A2D39)
    return (mixed ^ (mixed >> np.uint32(15))) | np.uint32(1)


def _all(xp: Any, flags: Any) -> Any:
    """Tells whether all flags are set; reduces axis by axis, which XLA compiles to much faster code on CPUs."""
    if xp is np:
        return np.asarray(flags.all())
    for _ in range(flags.ndim):
        flags = flags.all(axis=0)
    return flags
