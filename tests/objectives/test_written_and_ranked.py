"""Distillation of texts word by word and of rows of similarities; what counts as a right word."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from smarttrim_jax.objectives.language import sequence_distillation, word_accuracy, words_behind
from smarttrim_jax.objectives.losses import distillation_loss
from smarttrim_jax.objectives.retrieval import empty_queue, row_distillation

RANDOM = np.random.default_rng(0)
TEACHER, STUDENT = (RANDOM.normal(size=(2, 3, 5, 7)).astype(np.float32) for _ in range(2))
MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])


def test_distillation_of_texts_sums_that_of_their_words() -> None:
    distances = sequence_distillation(TEACHER, STUDENT, jnp.broadcast_to(MASK, (2, 3, 5)), 2.0)
    each = np.asarray(distillation_loss("softmax", TEACHER, STUDENT, 2.0))
    expected = [[each[row, text, : MASK[text].sum() - 1].sum() for text in range(3)] for row in range(2)]
    np.testing.assert_allclose(distances, expected, rtol=1e-5)
    np.testing.assert_allclose(sequence_distillation(TEACHER, TEACHER, np.ones((2, 3, 5)), 2.0), 0, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 6), min_size=5, max_size=5), st.integers(0, 4))
def test_all_words_are_right_where_greedy_search_writes_them(ids: list[int], wrong: int) -> None:
    words = np.array(ids)
    logits = np.eye(7)[np.append(words[1:], 0)]
    assert word_accuracy(logits, words, np.ones(5)) == 1
    logits[wrong] = np.eye(7)[(words[wrong + 1] + 1) % 7 if wrong < 4 else 0]
    np.testing.assert_allclose(word_accuracy(logits, words, np.ones(5)), 1 if wrong == 4 else 0.75)


def test_words_count_behind_the_prompt() -> None:
    np.testing.assert_array_equal(words_behind(MASK, 2), [[0, 0, 1, 0, 0], [0, 0, 1, 1, 1], [0] * 5])
    np.testing.assert_array_equal(words_behind(MASK, 0), words_behind(MASK, 1))


def test_distillation_of_rows_is_that_of_both_directions_and_teaches_the_trimmed_pass_alone() -> None:
    features = [RANDOM.normal(size=(4, 6)).astype(np.float32) for _ in range(6)]
    features = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in features]
    teacher, student, slow = features[:2], features[2:4], features[4:]
    queue = empty_queue(jax.random.key(0), 8, 6)

    def distance(teacher, student, temperature):
        return row_distillation(tuple(teacher), tuple(student), *slow, queue, temperature, 2.0)

    expected = 0.0
    for full, trimmed, own, queued in zip(teacher, student, slow[::-1], (queue.texts, queue.images), strict=True):
        columns = np.concatenate([own, queued]).T / 0.1
        expected = expected + distillation_loss("softmax", full @ columns, trimmed @ columns, 2.0) / 2
    np.testing.assert_allclose(distance(teacher, student, jnp.float32(0.1)), expected, rtol=1e-4)
    np.testing.assert_allclose(distance(teacher, teacher, jnp.float32(0.1)), 0, atol=1e-5)
    gradient = jax.grad(lambda *given: jnp.sum(distance(*given)), argnums=(0, 1, 2))
    to_teacher, to_student, to_temperature = gradient(teacher, student, jnp.float32(0.1))
    assert all((part == 0).all() for part in (*to_teacher, to_temperature))
    assert all((part != 0).any() for part in to_student)
