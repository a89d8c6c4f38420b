"""Packed tokens are the padded ones without what is closed, and attention cannot tell."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarttrim_jax.tokens import Packed, Padded, Tokens, attend, compact

BATCH, LENGTH, HEADS, WIDTH = 3, 5, 2, 4
COUNTS = np.array([5, 3, 1])  # open tokens of the examples, in any order
TIGHT, ROOMY = (9, 5), (15, 8)
seeds = st.integers(0, 2**16)
packed_as = {
    size: jax.jit(functools.partial(compact, packed_length=size[0], row_capacity=size[1])) for size in (TIGHT, ROOMY)
}
repeated = jax.jit(lambda tokens: tokens.repeat(2))
taken = jax.jit(lambda tokens, rows, copies: tokens.take(rows, copies), static_argnums=2)
dealt = jax.jit(lambda tokens: tokens.split_by_image(2))


def padded(seed: int) -> Padded:
    """Random vectors and gates; as many open tokens as `COUNTS` says."""
    random = np.random.default_rng(seed)
    rank = np.argsort(random.random((BATCH, LENGTH - 1)), axis=1)
    opened = np.ones((BATCH, LENGTH), np.float32)
    opened[:, 1:] = rank < random.permutation(COUNTS)[:, None] - 1
    values = random.normal(size=(BATCH, LENGTH, HEADS * WIDTH))
    return Padded(jnp.asarray(values, jnp.float32), jnp.asarray(opened))


def same(packed: Packed, reference: Padded) -> None:
    """Equal in everything that a layer can ask."""
    opened = np.asarray(reference.gate)
    np.testing.assert_array_equal(packed.padded_gate, opened)
    np.testing.assert_array_equal(packed.counts, opened.sum(1))
    np.testing.assert_array_equal(packed.global_token, reference.global_token)
    np.testing.assert_array_equal(packed.pad(packed.values) * opened[..., None], reference.values * opened[..., None])


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(seeds, st.sampled_from([TIGHT, ROOMY]))
def test_layouts_agree_through_compactions_closings_and_repetitions(seed, size):
    reference = padded(seed)
    packed = packed_as[size](reference)
    same(packed, reference)
    decision = jnp.asarray(np.random.default_rng(seed).integers(0, 2, (BATCH, LENGTH)), jnp.float32)
    packed, reference = packed.close(packed.look_up(decision)), reference.close(decision)
    same(packed, reference)
    same(repeated(packed), repeated(reference))
    for rows, copies in (([1], 1), ([2, 0], 1), ([1, 1, 0, 1], 3)):
        same(taken(packed, jnp.array(rows), copies), taken(reference, jnp.array(rows), copies))
    for hands in zip(dealt(packed.take(jnp.arange(2))), dealt(reference.take(jnp.arange(2))), strict=True):
        same(*hands)
    same(packed_as[size](packed), reference)
    per_example = jnp.arange(BATCH * 1.0)[:, None]
    np.testing.assert_array_equal(
        packed.pad(packed.spread(per_example))[..., 0] * reference.gate,
        reference.spread(per_example)[..., 0] * reference.gate,
    )


@settings(max_examples=30, deadline=None)
@given(seeds, st.sampled_from([TIGHT, ROOMY]))
def test_attention_reads_the_same_in_both_layouts(seed, size):
    tokens, source = padded(seed), padded(seed + 1)
    head_gate = jnp.asarray(np.random.default_rng(seed).integers(0, 2, (BATCH, HEADS)), jnp.float32)
    expected = _attend(tokens, source, head_gate) * tokens.gate[..., None]
    packed = packed_as[size](tokens)
    for keys in (packed_as[size](source), source):
        mixed = packed.pad(_attend(packed, keys, head_gate))
        np.testing.assert_allclose(mixed * tokens.gate[..., None], expected, atol=1e-6)


def test_a_single_example_is_a_row_of_its_own():
    example = jax.tree.map(lambda leaf: leaf[:1], padded(0))
    head_gate = jnp.ones((1, HEADS))
    packed = compact(example, 5, 5)
    expected = _attend(example, example, head_gate) * example.gate[..., None]
    mixed = packed.pad(_attend(packed, packed, head_gate)) * example.gate[..., None]
    np.testing.assert_allclose(mixed, expected, atol=1e-6)
    assert packed.rows(packed.values).shape == (1, 5, HEADS * WIDTH)


@jax.jit
def _attend(tokens: Tokens, source: Tokens, head_gate: jax.Array) -> jax.Array:
    def split(values: jax.Array) -> jax.Array:
        return values.reshape(*values.shape[:-1], HEADS, WIDTH)

    mixed = attend(
        tokens,
        split(tokens.values),
        split(source.values),
        split(source.values),
        source=source,
        head_gate=head_gate,
    )
    return mixed.reshape(*mixed.shape[:-2], -1)


def test_packed_tokens_without_fillers_gives_its_last_example_no_token_twice():
    for seed in range(6):  # some of them end on an example that is shorter than the rows
        packed = packed_as[TIGHT](padded(seed))
        np.testing.assert_array_equal(packed.row_gate.sum(1), packed.counts)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_fillers_are_finite_and_closed(dtype):
    tokens = padded(0)
    packed = packed_as[ROOMY](tokens.replace(tokens.values.astype(dtype)))
    assert packed.values.dtype == dtype
    assert np.isfinite(np.asarray(packed.values, np.float32)).all()
    assert (packed.gate[packed.row == BATCH] == 0).all()
