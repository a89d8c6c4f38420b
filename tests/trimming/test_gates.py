"""Decisions: exact, differentiable, distributed as Gumbel-softmax says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smarttrim_jax.tokens import Padded
from smarttrim_jax.trimming.gates import GateKey, Gates, Trim, TrimRecord, decide, fade
from smarttrim_jax.trimming.policies import LearnedPolicyConfig

TEXT = GateKey("text", "text")


def test_evaluation_is_a_hard_threshold_moved_by_the_offset() -> None:
    logits = jnp.float32([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(decide(logits, Trim(), None), [1, 1, 0])
    np.testing.assert_array_equal(decide(logits, Trim(offset=-0.5), None), [1, 0, 0])
    np.testing.assert_array_equal(decide(logits, Trim(offset=2.0), None), [1, 1, 1])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 5.0])
def test_training_is_exactly_zero_or_one_forward_with_a_gradient_backward(temperature: float) -> None:
    logits = jax.random.normal(jax.random.key(0), (1000, 2))
    trim = Trim(temperature=temperature)

    def weighted(logits: jax.Array) -> tuple[jax.Array, jax.Array]:
        gates = decide(logits, trim, jax.random.key(1))
        return jnp.sum(gates * jnp.arange(1000.0)), gates

    gradient, gates = jax.grad(weighted, has_aux=True)(logits)
    assert set(np.unique(gates)) == {0.0, 1.0}
    assert np.isfinite(gradient).all()
    assert (gradient[1:, 0] >= 0).all()
    assert (gradient[1:, 0] > 0).mean() > 0.95
    np.testing.assert_array_equal(gradient[:, 0], -gradient[:, 1])


@pytest.mark.parametrize("margin", [-2.0, 0.0, 1.0])
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_samples_are_open_as_often_as_gumbel_softmax_says(margin: float, temperature: float) -> None:
    logits = jnp.broadcast_to(jnp.float32([margin, 0.0]), (40_000, 2))
    ours = decide(logits, Trim(temperature=temperature), jax.random.key(2)).mean()
    noise = jax.random.gumbel(jax.random.key(3), logits.shape)
    gumbel = (jnp.argmax((logits + noise) / temperature, axis=-1) == 0).mean()
    np.testing.assert_allclose(ours, gumbel, atol=0.015)
    np.testing.assert_allclose(ours, jax.nn.sigmoid(margin), atol=0.01)


def test_the_initial_bias_keeps_with_a_probability_above_99_percent() -> None:
    bias = LearnedPolicyConfig().initial_bias
    logits = jnp.broadcast_to(jnp.float32([bias, -bias]), (40_000, 2))
    assert decide(logits, Trim(), jax.random.key(4)).mean() > 0.99


def test_opened_is_full_capacity_without_padding() -> None:
    present = jnp.float32([[1, 1, 0]])
    gates = Gates(jnp.float32([[[1, 0, 0]], [[1, 0, 0]]]), jnp.zeros((2, 1, 4)))
    opened = TrimRecord({TEXT: gates}, {TEXT: present}).opened().gates[TEXT]
    np.testing.assert_array_equal(opened.tokens, [[[1, 1, 0]], [[1, 1, 0]]])
    assert (opened.heads == 1).all()
    assert opened.cross_heads is None


def test_without_noise_training_decides_as_evaluation_does() -> None:
    logits = jax.random.normal(jax.random.key(0), (1000, 2))
    trained = decide(logits, Trim(offset=0.3, noise=0.0), jax.random.key(1))
    np.testing.assert_array_equal(trained, decide(logits, Trim(offset=0.3), None))


def faded(margins: np.ndarray, noise: float, dtype: str = "float32") -> tuple[Padded, Padded]:
    shape = (*margins.shape, 64)
    tokens = Padded(3.0 * jax.random.normal(jax.random.key(0), shape, dtype), jnp.ones(margins.shape).at[:, 5].set(0))
    logits = jnp.stack([margins, jnp.zeros_like(margins)], axis=-1)
    return tokens, fade(logits, tokens, Trim(temperature=2.0, noise=noise), jax.random.key(1))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fading_keeps_the_variance_and_loses_what_is_closed(dtype: str) -> None:
    margins = np.linspace(-8.0, 8.0, 17, dtype=np.float32) * np.ones((300, 1), np.float32)
    tokens, closed = faded(margins, 1.0, dtype)
    assert closed.values.dtype == tokens.values.dtype
    keep = np.asarray(jax.nn.sigmoid(margins / 2.0))
    before, after = (np.asarray(part.values, np.float32) for part in (tokens, closed))
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    np.testing.assert_allclose(closed.gate[:, 1:], np.where(np.arange(17) == 5, 0.0, keep)[:, 1:], atol=1e-6)
    assert (closed.gate[:, 0] == 1).all()
    np.testing.assert_allclose(after.std((0, 2)), before.std((0, 2)), rtol=0.03)
    alike = [np.corrcoef(before[:, token].ravel(), after[:, token].ravel())[0, 1] for token in range(1, 17)]
    np.testing.assert_allclose(alike, np.sqrt(keep[0, 1:]), atol=0.03)


def test_fading_ends_on_the_decisions_of_evaluation_with_finite_gradients() -> None:
    margins = np.random.default_rng(0).normal(size=(8, 17)).astype(np.float32)
    margins = np.where(np.abs(margins) < 0.2, 0.5, margins)
    tokens, closed = faded(margins, 0.0)
    hard = decide(jnp.stack([margins, jnp.zeros_like(margins)], axis=-1), Trim(), None).at[:, 0].set(1.0)
    np.testing.assert_allclose(closed.gate, hard * tokens.gate, atol=1e-4)

    def loss(margins: jax.Array, noise: float) -> jax.Array:
        closed = faded(margins, noise)[1]
        return jnp.sum(jnp.square(closed.values[..., :3])) + jnp.sum(closed.gate)

    for noise in (0.0, 1.0):
        gradient = jax.grad(loss)(jnp.asarray(np.concatenate([margins, 1e4 * margins, 0 * margins])), noise)
        assert np.isfinite(gradient).all()
