"""Losses of texts generated word by word (official files med.py, blip_vqa.py, blip.py of salesforce/BLIP)."""

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
    """Cross-entropy of each text, summed over its words; each word is predicted from those before it.

    Args:
        logits: Logits of the word after each token, `[*batch, tokens, words]`.
        ids: Token ids, `[*batch, tokens]`; the first one is given and not predicted.
        scored: 1 for words that count, 0 for padding or a prompt, `[*batch, tokens]`.
        smoothing: Share of the target that is spread evenly over all words (label smoothing).

    Returns:
        The loss of each text, `[*batch]`, float32.
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
    """Distance of the trimmed pass from the full one, summed over the words of each text; see `distillation_loss`.

    Args:
        teacher: Logits of the word after each token at full capacity, `[*batch, tokens, words]`; they get no
            gradient.
        student: Logits of the trimmed pass, with the same shape.
        scored: 1 for words that count, 0 for padding or a prompt, `[*batch, tokens]`.
        temperature: Temperature of both distributions.

    Returns:
        The distance of each text, `[*batch]`.
    """
    distances = distillation_loss("softmax", teacher[..., :-1, :], student[..., :-1, :], temperature)
    return jnp.sum(distances * scored[..., 1:], axis=-1)


def word_accuracy(
    logits: Float[Array, "*batch tokens words"],
    ids: Int[Array, "*batch tokens"],
    scored: Int[Array, "*batch tokens"] | Float[Array, "*batch tokens"],
) -> Float[Array, "*batch"]:
    """The share of each text's words that are the likeliest ones after the words before.

    Args:
        logits: Logits of the word after each token, `[*batch, tokens, words]`.
        ids: Token ids, `[*batch, tokens]`; the first one is given and not predicted.
        scored: 1 for words that count, 0 for padding or a prompt, `[*batch, tokens]`.

    Returns:
        The share of each text, `[*batch]`; 1 if greedy search would generate the text, 0 if no word counts.
    """
    right = jnp.argmax(logits[..., :-1, :], axis=-1) == ids[..., 1:]
    return jnp.sum(right * scored[..., 1:], axis=-1) / jnp.maximum(jnp.sum(scored[..., 1:], axis=-1), 1)


def words_behind(mask: Int[Array, "*batch tokens"], prompt: int) -> Int[Array, "*batch tokens"]:
    """Marks the words after a prompt.

    Args:
        mask: 1 for tokens, 0 for padding, `[*batch, tokens]`.
        prompt: Number of leading tokens that are given, [DEC] included.

    Returns:
        `[*batch, tokens]`, 1 for words after the prompt, 0 for the prompt and padding.
    """
    return mask * (jnp.arange(mask.shape[-1]) >= max(prompt, 1))


def answer_loss(
    logits: Float[Array, "batch answers tokens words"],
    ids: Int[Array, "batch answers tokens"],
    mask: Int[Array, "batch answers tokens"],
    weights: Float[Array, "batch answers"],
    smoothing: float = 0.1,
) -> Float[Array, " batch"]:
    """BLIP's loss for visual question answering: the weighted sum of the losses of each question's answers.

    Args:
        logits: Logits of the word after each token, `[batch, answers, tokens, words]`.
        ids: Token ids of the answers, `[batch, answers, tokens]`.
        mask: 1 for tokens, 0 for padding, `[batch, answers, tokens]`.
        weights: Share of annotators who gave an answer, `[batch, answers]`; 0 for fillers.
        smoothing: Label smoothing; see `sequence_loss`.

    Returns:
        The loss of each question, `[batch]`.
    """
    return jnp.sum(weights * sequence_loss(logits, ids, mask, smoothing), axis=-1)


def caption_loss(
    logits: Float[Array, "batch tokens words"],
    ids: Int[Array, "batch tokens"],
    mask: Int[Array, "batch tokens"],
    prompt: int,
    smoothing: float = 0.1,
) -> Float[Array, ""]:
    """BLIP's loss for captions: the mean over all words of the batch after the prompt.

    Args:
        logits: Logits of the word after each token, `[batch, tokens, words]`.
        ids: Token ids of the captions, `[batch, tokens]`.
        mask: 1 for tokens, 0 for padding and for all tokens of fillers, `[batch, tokens]`.
        prompt: Number of leading tokens that are given, [DEC] included.
        smoothing: Label smoothing; see `sequence_loss`.

    Returns:
        The loss, a scalar.
    """
    scored = words_behind(mask, prompt)
    return jnp.sum(sequence_loss(logits, ids, scored, smoothing)) / jnp.maximum(jnp.sum(scored), 1)
