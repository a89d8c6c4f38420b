"""The task losses, self-distillation and their weighted terms, against their definitions."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.objectives.losses import distillation_loss, soft_targets, soft_task_loss, task_loss
from smarttrim_jax.objectives.total import ObjectiveConfig, total_loss, weighted_mean, weighted_terms

LOGITS = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
OTHER = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
LABELS = np.array([0, 4, 2, 2, 1, 3])


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(-1, keepdims=True))
    return exponents / exponents.sum(-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def test_the_softmax_loss_is_cross_entropy() -> None:
    expected = -np.log(softmax(LOGITS)[np.arange(6), LABELS])
    chex.assert_trees_all_close(task_loss("softmax", LOGITS, LABELS), expected, rtol=1e-5)


def test_the_sigmoid_loss_is_the_official_mean_times_the_number_of_answers() -> None:
    targets = np.eye(5)[LABELS]
    p = sigmoid(LOGITS)
    each = -(targets * np.log(p) + (1 - targets) * np.log(1 - p))
    per_batch = each.mean() * 5
    chex.assert_trees_all_close(np.mean(task_loss("sigmoid", LOGITS, LABELS)), per_batch, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_softmax_distillation_is_the_scaled_divergence(temperature: float) -> None:
    teacher, student = softmax(LOGITS / temperature), softmax(OTHER / temperature)
    expected = temperature**2 * np.sum(teacher * np.log(teacher / student), axis=-1)
    chex.assert_trees_all_close(distillation_loss("softmax", LOGITS, OTHER, temperature), expected, rtol=1e-4)


def test_sigmoid_distillation_is_the_divergence_of_every_answer() -> None:
    p, q = sigmoid(LOGITS), sigmoid(OTHER)
    expected = np.sum(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)), axis=-1)
    chex.assert_trees_all_close(distillation_loss("sigmoid", LOGITS, OTHER, 1.0), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_distillation_is_zero_at_the_teacher_and_gives_it_no_gradient(kind: str) -> None:
    chex.assert_trees_all_close(distillation_loss(kind, LOGITS, LOGITS, 2.0), np.zeros(6), atol=1e-6)

    def total(teacher: jax.Array, student: jax.Array) -> jax.Array:
        return jnp.sum(distillation_loss(kind, teacher, student, 2.0))

    to_teacher, to_student = jax.grad(total, argnums=(0, 1))(jnp.asarray(LOGITS), jnp.asarray(OTHER))
    chex.assert_trees_all_equal(to_teacher, jnp.zeros_like(to_teacher))
    assert float(jnp.abs(to_student).max()) > 0


def test_every_term_is_named_and_weighted() -> None:
    config = ObjectiveConfig(full=0.5, distillation=3.0)
    terms = weighted_terms(config, full=jnp.float32(2), trimmed=jnp.float32(5), distance=jnp.float32(7))
    assert terms == {"task_full": 1.0, "task_trimmed": 5.0, "distillation": 21.0}
    assert total_loss(terms) == 27.0


def test_fine_tuning_alone_ignores_the_weight_of_the_full_pass() -> None:
    assert weighted_terms(ObjectiveConfig(full=0.1), full=jnp.float32(2)) == {"task_full": 2.0}


def test_fillers_do_not_count() -> None:
    losses = task_loss("softmax", LOGITS, LABELS)
    filled = weighted_mean(losses, jnp.array([1.0, 1, 1, 1, 0, 0]))
    chex.assert_trees_all_close(filled, np.mean(losses[:4]), rtol=1e-6)
    assert weighted_mean(losses, jnp.zeros(6)) == 0


@pytest.mark.parametrize("wrong", [{"full": -1.0}, {"distillation": -0.1}, {"temperature": 0.0}])
def test_weights_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="ObjectiveConfig"):
        ObjectiveConfig(**wrong)


def test_soft_targets_are_those_of_vqa() -> None:
    ids, weights = jnp.array([[2, 0, -1], [1, -1, -1]]), jnp.array([[1.0, 0.3, 0.0], [0.6, 0.3, 0.0]])
    targets = soft_targets(ids, weights, 4)
    np.testing.assert_allclose(targets, [[0.3, 0, 1, 0], [0, 0.6, 0, 0]])
    logits = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    probabilities = sigmoid(logits)
    bce = -(targets * np.log(probabilities) + (1 - targets) * np.log(1 - probabilities)).sum(axis=1)
    np.testing.assert_allclose(soft_task_loss("sigmoid", logits, targets), bce, rtol=1e-5)
    cross_entropy = -(targets / targets.sum(axis=1, keepdims=True) * np.log(softmax(logits))).sum(axis=1)
    np.testing.assert_allclose(soft_task_loss("softmax", logits, targets), cross_entropy, rtol=1e-5)


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_a_soft_target_of_one_answer_is_its_label_and_none_is_finite(kind: Any) -> None:
    logits, labels = jnp.array([[1.0, -2.0, 0.5], [3.0, 0.0, 1.0]]), jnp.array([2, 0])
    targets = soft_targets(labels[:, None], jnp.ones((2, 1)), 3)
    np.testing.assert_allclose(soft_task_loss(kind, logits, targets), task_loss(kind, logits, labels), rtol=1e-6)
    gradient = jax.grad(lambda logits: soft_task_loss(kind, logits, jnp.zeros((2, 3))).sum())(logits)
    assert np.isfinite(gradient).all()
