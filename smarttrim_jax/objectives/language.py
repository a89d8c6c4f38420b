"""Losses of texts that are written word by word (official files med.py, blip_vqa.py, blip.py of salesforce/BLIP)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from smarttrim_jax.objectives.losses import distillation_loss


def sequence_loss(
    logits: Float[Array, "*batch tokens words"],
    ids: Int[Array, "*batch tokens"],
    scored: Int[Array, "*batch tokens"] | Float[Array, "*batch tokens"],
    smoothing: float = 0.1,
) -> Float[Array, "*batch"]:
    """Cross-entropy of every text, summed over its words: each is expected behind the one before.

    Args:
        logits: of the word behind each token.
        ids: the words; the first is given.
        scored: 1 for words that count, 0 for padding or a prompt.
        smoothing: share of the target that all words have in common.
    """
    likelihoods = jax.nn.log_softmax(logits[..., :-1, :].astype(jnp.float32))
    own = jnp.take_along_axis(likelihoods, ids[..., 1:, None], axis=-1)[..., 0]
    losses = -(1.0 - smoothing) * own - smoothing * jnp.mean(likelihoods, axis=-1)
    return jnp.sum(losses * scored[..., 1:], axis=-1)


def sequence_distillation(
    teacher: Float[Array, "*batch tokens words"],
    student: Float[Array, "*batch tokens words"],
    scored: Int[Array, "*batch tokens"] | Float[Array, "*batch tokens"],
    temperature: float,
) -> Float[Array, "*batch"]:
    """How far the trimmed pass is from the full one, word by word, summed over every text; see `distillation_loss`.

    Args:
        teacher: logits of the word behind each token, at full capacity; without gradient.
        student: those of the trimmed pass.
        scored: as in `sequence_loss`.
        temperature: of both.
    """
    distances = distillation_loss("softmax", teacher[..., :-1, :], student[..., :-1, :], temperature)
    return jnp.sum(distances * scored[..., 1:], axis=-1)


def word_accuracy(
    logits: Float[Array, "*batch tokens words"],
    ids: Int[Array, "*batch tokens"],
    scored: Int[Array, "*batch tokens"] | Float[Array, "*batch tokens"],
) -> Float[Array, "*batch"]:
    """The share of every text's words that are the likeliest behind those before; 1 where greedy search writes it.

    Args:
        logits: of the word behind each token.
        ids: the words; the first is given.
        scored: as in `sequence_loss`.
    """
    right = jnp.argmax(logits[..., :-1, :], axis=-1) == ids[..., 1:]
    return jnp.sum(right * scored[..., 1:], axis=-1) / jnp.maximum(jnp.sum(scored[..., 1:], axis=-1), 1)


def words_behind(mask: Int[Array, "*batch tokens"], prompt: int) -> Int[Array, "*batch tokens"]:
    """1 for words behind the prompt, 0 for it and for padding.

    Args:
        mask: 1 for tokens, 0 for padding.
        prompt: leading tokens that are given, [DEC] among them.
    """
    return mask * (jnp.arange(mask.shape[-1]) >= max(prompt, 1))


def answer_loss(
    logits: Float[Array, "batch answers tokens words"],
    ids: Int[Array, "batch answers tokens"],
    mask: Int[Array, "batch answers tokens"],
    weights: Float[Array, "batch answers"],
    smoothing: float = 0.1,
) -> Float[Array, " batch"]:
    """BLIP's loss for visual question answering: every answer's, by its weight, summed for each question.

    Args:
        logits: of the answers.
        ids: of the answers.
        mask: 1 for tokens, 0 for padding.
        weights: the share of annotators who gave an answer; 0 for fillers.
        smoothing: of the targets.
    """
    return jnp.sum(weights * sequence_loss(logits, ids, mask, smoothing), axis=-1)


def caption_loss(
    logits: Float[Array, "batch tokens words"],
    ids: Int[Array, "batch tokens"],
    mask: Int[Array, "batch tokens"],
    prompt: int,
    smoothing: float = 0.1,
) -> Float[Array, ""]:
    """BLIP's loss for captions: the mean over all words of the batch behind the prompt.

    Args:
        logits: of the captions.
        ids: of the captions.
        mask: 1 for tokens, 0 for padding, and for whole captions that are fillers.
        prompt: leading tokens that are given, [DEC] among them.
        smoothing: of the targets.
    """
    scored = words_behind(mask, prompt)
    return jnp.sum(sequence_loss(logits, ids, scored, smoothing)) / jnp.maximum(jnp.sum(scored), 1)
