"""Every flipped bit changes an array's digest, which does not depend on where the array lies."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import NamedSharding, PartitionSpec

from smarttrim_jax.sharding import MeshConfig, make_mesh
from smarttrim_jax.training import digests
from smarttrim_jax.training.digests import digest_json, not_finite, summarize

TYPES = ("float32", "bfloat16", "float16", "int32", "uint8", "int8", "bool", "uint32", "float8_e4m3fn")
SHAPES = ((), (1,), (0,), (7,), (3, 0, 2), (4, 5), (2, 3, 4), (1, 1, 6), (2, 1, 3, 2))


def draw(seed: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random bits as an array of a type."""
    random = np.random.default_rng(seed)
    if dtype == "bool":
        return np.asarray(random.random(shape) < 0.5)
    kind = jnp.dtype(dtype)
    return random.integers(0, 256, (*shape, kind.itemsize), dtype=np.uint8).view(kind)[..., 0]


def in_program(array: np.ndarray) -> Any:
    """The summary as a program computes it, as on an accelerator."""
    return digests._summary(np.asarray(digests._program(jnp.asarray(array), (0,) * array.ndim)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(TYPES), st.sampled_from(SHAPES))
def test_a_program_and_numpy_agree(seed: int, dtype: str, shape: tuple[int, ...]) -> None:
    array = draw(seed, dtype, shape)
    with np.errstate(invalid="ignore"):
        summary = summarize({"a": array})["a"]
        assert summary == in_program(array)
        first = [seed % 1000 + axis for axis in range(array.ndim)]
        assert (digests._program(jnp.asarray(array), first) == digests._sum_words(np, array, first)).all()
        assert summary == summarize({"a": jnp.asarray(array)})["a"]
        assert summary.finite == bool(np.isfinite(array.astype(np.float64)).all())


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([*TYPES, "float64", "int64"]), st.data())
def test_one_flipped_bit_changes_both_halves_of_the_digest(seed: int, dtype: str, data: Any) -> None:
    array = draw(seed, dtype, data.draw(st.sampled_from([shape for shape in SHAPES if 0 not in shape])))
    flipped = array.copy()
    # Of a boolean only the lowest bit is one.
    bit = 0 if dtype == "bool" else data.draw(st.integers(0, 8 * array.dtype.itemsize - 1))
    element = data.draw(st.integers(0, array.size - 1))
    raw = flipped.reshape(-1).view(np.uint8)
    raw[element * array.dtype.itemsize + bit // 8] ^= 1 << (bit % 8)
    with np.errstate(invalid="ignore"):
        before, after = (summarize([each])["0"].digest for each in (array, flipped.reshape(array.shape)))
    assert before[:8] != after[:8]
    assert before[8:] != after[8:]


def test_numbers_of_64_bits_agree_too() -> None:
    with jax.enable_x64():
        for dtype in ("float64", "int64", "uint64"):
            for shape in ((), (3,), (2, 5)):
                array = draw(7, dtype, shape)
                assert summarize([array])["0"] == in_program(array), (dtype, shape)


def test_moved_and_swapped_rows_are_noticed() -> None:
    square = draw(3, "float32", (6, 6))
    assert summarize([square]) != summarize([square.T])
    rows = square[:, :5].copy()
    alike = {summarize([rows[list(order)]])["0"].digest for order in ((0, 1, 2, 3, 4, 5), (1, 0, 2, 3, 4, 5))}
    alike |= {summarize([each])["0"].digest for each in (rows.T.reshape(6, 5), np.roll(rows, 1), rows[::-1])}
    assert len(alike) == 5


def test_where_an_array_lies_does_not_matter() -> None:
    mesh = make_mesh(MeshConfig())
    array = draw(5, "int32", (8 * mesh.size, 6))
    split = jax.device_put(array, NamedSharding(mesh, PartitionSpec("data")))
    everywhere = jax.device_put(array, NamedSharding(mesh, PartitionSpec()))
    assert summarize([split]) == summarize([everywhere]) == summarize([array])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(TYPES), st.sampled_from(SHAPES), st.data())
def test_the_sums_of_parts_add_up(seed: int, dtype: str, shape: tuple[int, ...], data: Any) -> None:
    array = draw(seed, dtype, shape)
    cuts = [data.draw(st.integers(0, size)) for size in shape]
    halves = ([slice(0, cut), slice(cut, size)] for cut, size in zip(cuts, shape, strict=True))
    with np.errstate(invalid="ignore"):
        whole = digests._sum_words(np, array, (0,) * array.ndim)
        parts = [
            digests._sum_words(np, array[part], [axis.start for axis in part]) for part in itertools.product(*halves)
        ]
    total = np.sum(parts, axis=0, dtype=np.uint32)
    assert (total[:2] == whole[:2]).all()
    assert bool(total[2]) == bool(whole[2])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_arrays_that_are_not_finite_are_named(bad: float) -> None:
    tree = {"a": np.ones(3, np.float32), "b": {"c": np.array([1, bad], np.float32), "n": np.int32(2**31 - 1)}}
    assert not_finite(summarize(tree)) == ["b/c"]
    assert not_finite(summarize(jax.tree.map(jnp.asarray, tree))) == ["b/c"]
    assert not in_program(tree["b"]["c"]).finite


def test_the_digest_of_json_is_that_of_its_content() -> None:
    assert digest_json({"a": (1, 2), "b": {3: None}}) == digest_json({"b": {"3": None}, "a": [1, 2]})
    assert digest_json({"a": 1}) != digest_json({"a": 1.0})
