"""Losses of texts: against torch's definition of a smoothed cross-entropy, written out."""

import jax
import jax.numpy as jnp
import numpy as np

from smarttrim_jax.objectives.language import answer_loss, caption_loss, sequence_loss

WORDS = 7


def one(logits: np.ndarray, word: int, smoothing: float) -> float:
    """Cross-entropy with `smoothing` of the target spread over all words, the right one among them."""
    likelihoods = logits - np.log(np.exp(logits).sum())
    target = np.full(WORDS, smoothing / WORDS)
    target[word] += 1 - smoothing
    return float(-(target * likelihoods).sum())


def texts(*batch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    ids = random.integers(0, WORDS, (*batch, 5))
    mask = (np.arange(5) < random.integers(2, 6, (*batch, 1))).astype(np.int32)
    return random.normal(size=(*batch, 5, WORDS)).astype(np.float32), ids, mask


def test_every_word_is_expected_behind_the_one_before():
    logits, ids, mask = texts(3)
    for smoothing in (0.0, 0.1):
        losses = sequence_loss(logits, ids, mask, smoothing)
        for row in range(3):
            length = mask[row].sum()
            expected = sum(one(logits[row, i], ids[row, i + 1], smoothing) for i in range(length - 1))
            np.testing.assert_allclose(losses[row], expected, rtol=1e-5)


def test_answers_count_by_their_weights_and_fillers_do_not():
    logits, ids, mask = texts(2, 3)
    weights = np.array([[0.5, 0.2, 0.0], [1.0, 0.0, 0.0]])
    losses = answer_loss(logits, ids, mask, weights)
    first = sequence_loss(logits, ids, mask)
    np.testing.assert_allclose(losses, [0.5 * first[0, 0] + 0.2 * first[0, 1], first[1, 0]], rtol=1e-6)


def test_a_prompt_is_given_and_the_mean_runs_over_all_other_words_of_the_batch():
    logits, ids, mask = texts(2)
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]])
    words = [(0, 3), (0, 4), (1, 3)]  # behind [DEC] and a prompt of two words
    expected = np.mean([one(logits[row, at - 1], ids[row, at], 0.1) for row, at in words])
    np.testing.assert_allclose(caption_loss(logits, ids, mask, prompt=3), expected, rtol=1e-5)
    nothing = jax.value_and_grad(lambda logits: caption_loss(logits, ids, 0 * mask, prompt=3))(jnp.asarray(logits))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(nothing))
