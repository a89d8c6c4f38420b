"""Masked attention: a softmax over the open keys that gradients can still open or close."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smarttrim_jax import tokens as library
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.tokens import Kernel, Packed, Padded, Tokens, first_token_open, gated_softmax
from smarttrim_jax.tokens.attention import cudnn, plain, ragged, splash

KEYS = 6
softmax = jax.jit(gated_softmax)
compact = jax.jit(library.compact, static_argnums=(1, 2))
score_lists = st.lists(st.floats(-1e4, 1e4, width=32), min_size=KEYS, max_size=KEYS)
gate_lists = st.lists(st.booleans(), min_size=KEYS, max_size=KEYS)


def attend(*arrays: Any, source: Tokens | None = None, head_gate: jax.Array | None = None, **choices: Any) -> Any:
    """`attend` as one program, which compiles faster than its operations one by one."""

    def run(arrays: Any, source: Any, head_gate: Any) -> jax.Array:
        return library.attend(*arrays, source=source, head_gate=head_gate, **choices)

    return jax.jit(run)(arrays, source, head_gate)


@settings(max_examples=100, deadline=None)
@given(score_lists, gate_lists)
def test_equals_the_plain_softmax_over_the_open_subset(scores: list[float], gate: list[bool]) -> None:
    scores_array, is_open = np.float32(scores), np.array(gate)
    weights = np.asarray(softmax(scores_array, np.float32(gate)))
    expected = np.zeros(KEYS, np.float32)
    if is_open.any():
        exponents = np.exp(scores_array[is_open] - scores_array[is_open].max(), dtype=np.float64)
        expected[is_open] = exponents / exponents.sum()
    np.testing.assert_allclose(weights, expected, atol=1e-6)
    assert (weights[~is_open] == 0).all()


def test_a_closed_key_with_an_enormous_score_weighs_nothing_and_disturbs_nothing() -> None:
    gate = jnp.float32([1, 1, 0])
    quiet = softmax(jnp.float32([0.3, -0.2, 0.0]), gate)
    loud = softmax(jnp.float32([0.3, -0.2, 1e30]), gate)
    assert loud[2] == 0
    np.testing.assert_array_equal(quiet, loud)


def test_gradients_are_finite_and_reach_the_gates_of_closed_keys() -> None:
    scores = jnp.float32([[0.3, -0.2, 1e30, 0.1], [1.0, 1e30, -1e30, 2.0]])
    gate = jnp.float32([[1, 1, 0, 0], [1, 0, 0, 0]])
    values = jnp.float32([1.0, -2.0, 3.0, 4.0])

    def mixed(scores: jax.Array, gate: jax.Array) -> jax.Array:
        return jnp.sum(gated_softmax(scores, gate) @ values)

    of_scores, of_gate = jax.device_get(jax.jit(jax.grad(mixed, argnums=(0, 1)))(scores, gate))
    assert np.isfinite(of_scores).all()
    assert np.isfinite(of_gate).all()
    assert (of_gate[0] != 0).all()
    assert (of_scores[np.asarray(gate) == 0] == 0).all()


def test_with_every_key_closed_weights_are_zero_and_gradients_finite() -> None:
    def total(scores: jax.Array, gate: jax.Array) -> jax.Array:
        return jnp.sum(gated_softmax(scores, gate) ** 2)

    scores, gate = jnp.float32([3.0, -1e30, 1e30]), jnp.zeros(3)
    assert (softmax(scores, gate) == 0).all()
    gradients = jax.jit(jax.grad(total, argnums=(0, 1)))(scores, gate)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_a_closed_head_gives_zeros_and_leaves_the_others_alone() -> None:
    query, key, value = jax.random.normal(jax.random.key(0), (3, 1, 4, 2, 3))
    tokens = Padded(jnp.zeros((1, 4, 6)), jnp.ones((1, 4)))
    full = attend(tokens, query, key, value)
    gated = attend(tokens, query, key, value, head_gate=jnp.float32([[1, 0]]))
    np.testing.assert_array_equal(gated[:, :, 0], full[:, :, 0])
    assert (gated[:, :, 1] == 0).all()


def test_closing_is_cumulative_and_spares_the_first_token() -> None:
    tokens = Padded(jnp.zeros((1, 4, 2)), jnp.float32([[1, 1, 1, 0]]))
    once = tokens.close(jnp.float32([[0, 0, 1, 1]]))
    np.testing.assert_array_equal(once.gate, [[1, 0, 1, 0]])
    np.testing.assert_array_equal(once.close(jnp.ones((1, 4))).gate, once.gate)


def test_an_empty_text_keeps_its_global_token() -> None:
    np.testing.assert_array_equal(first_token_open(jnp.int32([[0, 0], [1, 1]])), [[1, 0], [1, 1]])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("row_by_row", [False, True])
def test_evaluation_and_training_mix_alike(monkeypatch: pytest.MonkeyPatch, batch: int, row_by_row: bool) -> None:
    monkeypatch.setattr(plain, "ROW_BY_ROW", 0 if row_by_row else 2**20)
    random = np.random.default_rng(0)
    query, key, value = (jnp.asarray(random.normal(size=(batch, 7, 2, 3)), jnp.float32) for _ in range(3))
    tokens = Padded(jnp.zeros((batch, 7, 6)), jnp.asarray(random.integers(0, 2, (batch, 7)), jnp.float32))
    tokens = Padded(tokens.values, tokens.gate.at[:, 0].set(1.0))
    loud = key * jnp.where(tokens.gate > 0, 1.0, 1e30)[..., None, None]
    evaluated = attend(tokens, query, loud, value)
    trained = attend(tokens, query, key, value, training=True)
    np.testing.assert_allclose(evaluated, trained, atol=1e-6)


def random_rows(batch: int, length: int, heads: int, width: int) -> tuple[Padded, jax.Array]:
    """Tokens of which some are closed, and a vector for each, split into heads."""
    random = np.random.default_rng(batch * length)
    gate = random.integers(0, 2, (batch, length)).astype(np.float32)
    gate[:, 0] = 1
    values = random.normal(size=(batch, length, heads * width)).astype(np.float32)
    return Padded(jnp.asarray(values), jnp.asarray(gate)), jnp.asarray(values.reshape(batch, length, heads, width))


def test_examples_of_any_length_mix_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, vectors = random_rows(5, 40, 2, 4)
    source, other = random_rows(5, 24, 2, 4)
    own = compact(tokens, int(tokens.counts.sum()), int(tokens.counts.max()))
    keys = compact(source, int(source.counts.sum()) + 3, int(source.counts.max()) + 8)
    # Some close after the compaction: they stay on the line, and nobody may read them.
    closed = jnp.where(jnp.arange(24) % 5 == 4, 0.0, 1.0)[None].repeat(5, axis=0)
    keys = keys.close(keys.look_up(closed))
    source = source.close(closed)
    expected = attend(tokens, vectors, other, other, source=source) * tokens.gate[..., None, None]
    assert not ragged.suits_ragged(own, keys, own.values.reshape(-1, 2, 4))
    monkeypatch.setattr(plain, "ROW_BY_ROW", 0)
    assert ragged.suits_ragged(own, keys, own.values.reshape(-1, 2, 4))
    mixed = jax.jit(lambda: own.pad(attend(own, *_split(own, keys, keys), source=keys)))()
    np.testing.assert_allclose(mixed, expected, atol=1e-6)
    assert len({-(-int(share * own.row_capacity) // 8) for share in ragged.WIDTHS}) > 1


def _split(*tokens: Packed) -> list[jax.Array]:
    return [part.values.reshape(-1, 2, 4) for part in tokens]


@pytest.mark.parametrize("kernel", ["cudnn", "splash"])
def test_kernels_give_what_plain_jax_gives(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> None:
    monkeypatch.setattr(cudnn, "IMPLEMENTATION", "xla")
    monkeypatch.setattr(splash, "INTERPRET", True)
    tokens, query = random_rows(2, 9, 2, 8)
    source, key = random_rows(2, 5, 2, 8)
    tokens, source, query, key = jax.tree.map(
        lambda part: part.astype(jnp.bfloat16) if kernel == "cudnn" else part, (tokens, source, query, key)
    )
    for layout in (lambda tokens: tokens, lambda tokens: compact(tokens, 16, 9)):
        own, keys = layout(tokens), layout(source)
        parts = [part.values.reshape(*part.gate.shape, 2, 8) for part in (own, keys, keys)]
        mixed = attend(own, *parts, source=keys, kernel=kernel)
        plain = attend(own, *parts, source=keys, kernel="xla")
        opened = own.gate[..., None, None]
        np.testing.assert_allclose(
            np.float32(mixed * opened), np.float32(plain * opened), atol=1e-5 if kernel == "splash" else 2e-2
        )


def test_cudnn_says_what_it_cannot_take() -> None:
    tokens, query = random_rows(1, 4, 2, 8)
    with pytest.raises(ConfigError, match="float32, 8 wide"):
        attend(tokens, query, query, query, kernel="cudnn")


@pytest.mark.parametrize("batch", [1, 3])
def test_in_causal_order_no_token_reads_those_behind_it(batch: int) -> None:
    tokens, vectors = random_rows(batch, 9, 2, 4)
    trained = attend(tokens, vectors, vectors, vectors, causal=True, training=True)
    for end in (1, 4, 9):
        prefix = Padded(tokens.values[:, :end], tokens.gate[:, :end])
        alone = attend(prefix, *(vectors[:, :end] for _ in range(3)))
        np.testing.assert_allclose(trained[:, end - 1], alone[:, -1], atol=1e-6)
    opened = tokens.gate[..., None, None]
    np.testing.assert_allclose(attend(tokens, vectors, vectors, vectors, causal=True), trained, atol=1e-6)
    packed = compact(tokens, int(tokens.counts.sum()) + 2, 9)
    line = packed.values.reshape(-1, 2, 4)
    mixed = packed.pad(attend(packed, line, line, line, causal=True, kernel="splash"))
    np.testing.assert_allclose(mixed, trained * opened, atol=1e-6)
    with pytest.raises(ValueError, match="not with a source"):
        attend(tokens, vectors, vectors, vectors, source=tokens, causal=True)


def test_gates_that_get_no_gradient_are_an_error_and_not_a_zero() -> None:
    query, gate = jnp.ones((1, 3, 2, 4)), jnp.ones((1, 3))

    def total(gate: Any, **more: Any) -> Any:
        tokens = Padded(jnp.ones((1, 3, 8)), gate)
        return jnp.sum(library.attend(tokens, query, query, query * jnp.arange(3.0)[:, None, None], **more))

    with pytest.raises(ConfigError, match="attention in evaluation gives the gates of its keys no gradient"):
        jax.grad(total)(gate)
    assert jnp.any(jax.grad(lambda gate: total(gate, training=True))(gate) != 0)
    # Values are differentiable all the same.
    jax.grad(lambda scale: total(jax.lax.stop_gradient(gate)) * scale)(1.0)
