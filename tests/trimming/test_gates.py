"""Decisions: exact, differentiable, distributed as Gumbel-softmax says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smarttrim_jax.trimming.gates import GateKey, Gates, Trim, TrimRecord, decide
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
