"""Attention over packed tokens where they lie, as a TPU computes it; run by Pallas' interpreter."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarttrim_jax.tokens import Packed, Padded, attend
from smarttrim_jax.tokens.attention import dispatch, splash
from smarttrim_jax.tokens.attention.flash import BLOCK, key_blocks, mix_flash
from smarttrim_jax.tokens.attention.plain import mix_rows

HEADS, WIDTH = 2, 4
LONGEST = 400
PLACES = 640
KEY_PLACES = 900


@pytest.fixture(autouse=True)
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splash, "INTERPRET", True)


def packed_line(lengths: Sequence[int], places: int, random: np.random.Generator, closed: float = 0.3) -> Packed:
    """Examples of these lengths end to end, then fillers; some tokens that are no global ones are closed."""
    batch, stored = len(lengths), sum(lengths)
    start = np.cumsum(lengths) - lengths
    row = np.append(np.repeat(np.arange(batch), lengths), np.full(places - stored, batch))
    position = np.append(np.arange(stored) - np.repeat(start, lengths), np.zeros(places - stored, int))
    is_open = ((random.random(places) > closed) | (position == 0)) & (row < batch)
    integers = [jnp.asarray(part, jnp.int32) for part in (row, position, start)]
    return Packed(jnp.zeros((places, 1)), jnp.asarray(is_open, jnp.float32), *integers, LONGEST, LONGEST)


def random_lengths(batch: int, places: int, random: np.random.Generator) -> list[int]:
    """Lengths of at least 1 that leave room for some fillers, now and then for none."""
    shares = random.dirichlet(np.full(batch, 0.7))
    lengths = 1 + np.int64(shares * random.choice([0.3, 0.8, 1.0]) * (places - batch))
    return [int(length) for length in np.minimum(lengths, LONGEST)]


def vectors(tokens: Packed, random: np.random.Generator) -> jax.Array:
    return jnp.asarray(random.normal(size=(*tokens.row.shape, HEADS, WIDTH)), jnp.float32)


mixed_in_place = jax.jit(mix_flash)
mixed_by_rows = jax.jit(mix_rows)


@pytest.mark.parametrize("batch", [1, 2, 9])
def test_gives_what_plain_attention_gives(batch: int) -> None:
    for seed in range(6):
        random = np.random.default_rng([batch, seed])
        own, other = (
            packed_line(random_lengths(batch, places, random), places, random) for places in (PLACES, KEY_PLACES)
        )
        for keys in (own, other):
            query, key, value = vectors(own, random), vectors(keys, random), vectors(keys, random)
            mixed = mixed_in_place(own, keys, query, key, value)
            expected = mixed_by_rows(own, keys, query, key, value)
            is_real = np.asarray(own.row) < batch
            np.testing.assert_allclose(mixed[is_real], expected[is_real], atol=1e-5)
            assert np.isfinite(mixed).all()


def test_half_precision_is_added_up_in_full() -> None:
    random = np.random.default_rng(0)
    own = packed_line([300, 200], PLACES, random)
    parts = [vectors(own, random).astype(jnp.bfloat16) for _ in range(3)]
    mixed = mixed_in_place(own, own, *parts)
    assert mixed.dtype == jnp.bfloat16
    expected = mixed_by_rows(own, own, *(jnp.float32(part) for part in parts))
    np.testing.assert_allclose(np.float32(mixed)[:500], expected[:500], atol=1e-2)


def test_neighbours_do_not_matter_and_blocks_without_own_keys_are_not_read() -> None:
    random = np.random.default_rng(1)
    own = packed_line([100, 60, 40, 240, 200], PLACES, random)
    query, key, value = (vectors(own, random) for _ in range(3))
    mixed = mixed_in_place(own, own, query, key, value)
    # Example 3 lies on places 200 to 439, in blocks 1 to 3; what is in block 4 must not even be multiplied by 0.
    is_neighbour = ((own.row != 3) | (own.gate == 0))[:, None, None]
    is_far = (jnp.arange(PLACES) >= 4 * BLOCK)[:, None, None]
    loud = jnp.where(is_far, jnp.nan, jnp.where(is_neighbour, 1e30, 0.0))
    again = mixed_in_place(own, own, query, jnp.where(loud == 0, key, loud), jnp.where(loud == 0, value, loud))
    np.testing.assert_array_equal(again[256:384], mixed[256:384])


def test_queries_without_an_open_key_get_finite_numbers() -> None:
    random = np.random.default_rng(2)
    own = packed_line([1, 300, 30], PLACES, random)
    shut = dataclasses.replace(own, gate=own.gate * (own.row != 1))
    assert np.isfinite(mixed_in_place(own, shut, *(vectors(own, random) for _ in range(3)))).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, LONGEST), st.integers(1, LONGEST)), min_size=1, max_size=9))
def test_computes_the_pairs_of_blocks_that_share_an_example_and_no_others(lengths: list[tuple[int, int]]) -> None:
    random = np.random.default_rng(3)
    own_lengths, key_lengths = zip(*lengths, strict=True)
    own, keys = packed_line(own_lengths, 9 * LONGEST, random), packed_line(key_lengths, 9 * LONGEST, random)
    shared = set()
    for example in range(len(lengths)):
        queries, others = (np.flatnonzero(np.asarray(tokens.row) == example) // BLOCK for tokens in (own, keys))
        shared |= {(query, key) for query in set(queries) for key in set(others)}
    first, count = (np.asarray(part) for part in jax.jit(key_blocks)(own, keys))
    computed = {(block, first[block] + step) for block in range(len(first)) for step in range(count[block])}
    assert computed == shared
    most = sum((own_length + 2 * BLOCK) * (key_length + 2 * BLOCK) for own_length, key_length in lengths)
    assert len(computed) * BLOCK**2 <= most


def test_packed_tokens_take_this_way_and_padded_ones_another(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    packed = packed_line([5, 9], 16, random)
    padded = Padded(jnp.zeros((2, 9, 1)), jnp.ones((2, 9)))
    calls = []
    monkeypatch.setattr(dispatch, "mix_flash", lambda tokens, keys, query, *_: calls.append("flash") or query)
    monkeypatch.setitem(dispatch.FUSED, "splash", lambda query, *_: calls.append("splash") or query)
    for tokens, source in ((packed, packed), (packed, padded), (padded, packed), (padded, padded)):
        parts = (jnp.zeros((*side.gate.shape, HEADS, WIDTH)) for side in (tokens, source, source))
        attend(tokens, *parts, source=source, kernel="splash")
    assert calls == ["flash", "splash", "splash", "splash"]


def test_is_lowered_for_tpus(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    own, keys = packed_line([50, 90], 200, random), packed_line([30, 20], 64, random)
    parts = [jnp.zeros((*tokens.row.shape, 12, 64), jnp.bfloat16) for tokens in (own, keys, keys)]
    monkeypatch.setattr(splash, "INTERPRET", False)
    exported = jax.export.export(jax.jit(lambda: mix_flash(own, keys, *parts)), platforms=["tpu"])()
    assert "tpu_custom_call" in exported.mlir_module()
