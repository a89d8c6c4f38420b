"""Contrastive learning with a momentum model: each pure function on its own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from smarttrim_jax.objectives.retrieval import (
    NOBODY,
    bounded_temperature,
    empty_queue,
    enqueue,
    hard_negatives,
    itc_loss,
    itm_loss,
    momentum_update,
    soft_targets,
)


def unit(seed: int, rows: int = 4, width: int = 6) -> jax.Array:
    vectors = jax.random.normal(jax.random.key(seed), (rows, width))
    return vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def test_the_momentum_model_follows_slowly():
    slow = momentum_update({"a": jnp.ones(2)}, {"a": jnp.zeros(2)}, 0.9)
    np.testing.assert_allclose(slow["a"], 0.9)


def test_the_queue_forgets_the_oldest_and_begins_with_what_belongs_to_nothing():
    queue = empty_queue(jax.random.key(0), 8, 6)
    assert (queue.identities == NOBODY).all()
    np.testing.assert_allclose(jnp.linalg.norm(queue.images, axis=1), 1, rtol=1e-6)
    put = jax.jit(enqueue)
    for batch in range(3):
        queue = put(queue, unit(batch), unit(10 + batch), jnp.full(4, batch))
    np.testing.assert_array_equal(queue.identities, [2] * 4 + [1] * 4)
    np.testing.assert_array_equal(queue.images[:4], unit(2))
    np.testing.assert_array_equal(queue.texts[4:], unit(11))
    assert queue.pointer == 4
    with pytest.raises(ValueError, match="8 pairs is no multiple of the batch, 3"):
        enqueue(queue, unit(0, 3), unit(0, 3), jnp.zeros(3, jnp.int32))


def test_targets_are_equal_shares_mixed_with_what_the_momentum_model_finds_alike():
    scores = jnp.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    targets = soft_targets(scores, jnp.array([5, 6]), jnp.array([5, 6, 5]), 0.4)
    hard = np.array([[0.5, 0, 0.5], [0, 1, 0]])
    np.testing.assert_allclose(targets, 0.4 * jax.nn.softmax(scores) + 0.6 * hard, rtol=1e-6)
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)


def test_the_contrastive_loss_is_the_cross_entropy_in_both_directions():
    images, texts, slow_images, slow_texts = (np.asarray(unit(seed)) for seed in range(4))
    identities, temperature, alpha = jnp.array([1, 2, 1, 3]), 0.2, 0.4
    queue = enqueue(empty_queue(jax.random.key(0), 8, 6), unit(7), unit(8), jnp.array([2, 9, 9, 9]))
    losses = itc_loss(images, texts, slow_images, slow_texts, identities, queue, jnp.float32(temperature), alpha)
    same = np.array([1, 2, 1, 3])[:, None] == np.concatenate([[1, 2, 1, 3], queue.identities])
    expected = 0.0
    for own, slow, others in (
        (images, slow_images, np.concatenate([slow_texts, queue.texts])),
        (texts, slow_texts, np.concatenate([slow_images, queue.images])),
    ):
        soft = np.exp(log_softmax(slow @ others.T / temperature))
        targets = alpha * soft + (1 - alpha) * same / same.sum(axis=1, keepdims=True)
        expected = expected - (log_softmax(own @ others.T / temperature) * targets).sum(axis=1) / 2
    np.testing.assert_allclose(losses, expected, rtol=1e-5)


def test_only_the_model_itself_learns_from_the_contrastive_loss():
    queue = empty_queue(jax.random.key(0), 8, 6)

    def loss(*features: jax.Array) -> jax.Array:
        return jnp.sum(itc_loss(*features, jnp.arange(4), queue, jnp.float32(0.1), 0.4))

    gradients = jax.grad(loss, argnums=(0, 1, 2, 3))(*(unit(seed) for seed in range(4)))
    assert [bool((part != 0).any()) for part in gradients] == [True, True, False, False]


def test_negatives_never_belong_together_and_prefer_what_is_alike():
    images = jnp.eye(4)
    texts = jnp.eye(4)[jnp.array([1, 0, 3, 2])]  # text 0 looks like image 1, and so on
    identities = jnp.array([0, 1, 2, 2])
    keys = jax.random.split(jax.random.key(0), 200)
    draw = jax.jit(jax.vmap(lambda key: hard_negatives(key, images, texts, identities, jnp.float32(0.2))))
    for rows in map(np.asarray, draw(keys)):
        assert not (np.asarray(identities)[rows] == np.asarray(identities)).any()
        assert (rows[:, 0] == 1).mean() > 0.9
        assert (rows[:, 1] == 0).mean() > 0.9
        assert len(np.unique(rows[:, 2])) > 1  # what looks alike belongs to it
    alone = hard_negatives(keys[0], images[:2], texts[:2], jnp.zeros(2, jnp.int32), jnp.float32(0.2))
    assert all(((rows >= 0) & (rows < 2)).all() for rows in alone)


def test_the_matching_loss_wants_one_right_and_two_wrong():
    sure = jnp.array([[-20.0, 20.0]])
    np.testing.assert_allclose(itm_loss(sure, -sure, -sure), 0, atol=1e-6)
    np.testing.assert_allclose(itm_loss(sure, -sure, sure), 40 / 3, rtol=1e-6)


def test_the_temperature_stays_in_its_bounds():
    np.testing.assert_allclose(bounded_temperature(jnp.array([0.0, 0.07, 9.0])), [0.001, 0.07, 0.5])
