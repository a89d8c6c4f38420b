"""Losses of each example: the task's loss, and the distance of the trimmed pass from the full one."""

from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

LossKind = Literal["softmax", "sigmoid"]


def soft_targets(
    ids: Int[Array, "batch given"], weights: Float[Array, "batch given"], answers: int
) -> Float[Array, "batch answers"]:
    """Makes a target for each answer of the data set from the few answers that each example gives.

    Args:
        ids: Indices of the given answers, `[batch, given]`; negative ones are ignored.
        weights: Weights of the given answers, `[batch, given]`; 0 for fillers.
        answers: Number of answers of the data set.

    Returns:
        The weight of each answer, `[batch, answers]`; weights of an answer given twice add up.
    """
    return jnp.einsum("bg,bga->ba", weights, jax.nn.one_hot(ids, answers, dtype=weights.dtype))


def soft_task_loss(
    kind: LossKind, logits: Float[Array, "batch answers"], targets: Float[Array, "batch answers"]
) -> Float[Array, " batch"]:
    """The task's loss for several right answers with different weights.

    Args:
        kind: "softmax" is cross-entropy with the targets divided by their sum. "sigmoid" is METER's VQA loss: binary
            cross-entropy summed over answers (the official mean times the number of answers).
        logits: Logits of the answers, `[batch, answers]`.
        targets: Weights of the answers between 0 and 1, `[batch, answers]`; see `soft_targets`.

    Returns:
        The loss of each example, `[batch]`.
    """
    if kind == "softmax":
        shares = targets / jnp.maximum(jnp.sum(targets, axis=-1, keepdims=True), jnp.finfo(targets.dtype).tiny)
        cross_entropy: Array = optax.losses.softmax_cross_entropy(logits, shares)
        return cross_entropy
    return jnp.sum(optax.losses.sigmoid_binary_cross_entropy(logits, targets), axis=-1)


def task_loss(
    kind: LossKind, logits: Float[Array, "batch answers"], labels: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """The task's loss for a single right answer.

    Args:
        kind: "softmax" is cross-entropy; "sigmoid" is binary cross-entropy summed over answers.
        logits: Logits of the answers, `[batch, answers]`.
        labels: Indices of the right answers, `[batch]`.

    Returns:
        The loss of each example, `[batch]`.
    """
    if kind == "softmax":
        cross_entropy: Array = optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
        return cross_entropy
    return soft_task_loss(kind, logits, jax.nn.one_hot(labels, logits.shape[-1]))


def distillation_loss(
    kind: LossKind,
    teacher: Float[Array, "*batch answers"],
    student: Float[Array, "*batch answers"],
    temperature: float,
) -> Float[Array, "*batch"]:
    """The distance of trimmed logits from the full ones; the teacher gets no gradient.

    Args:
        kind: "softmax": `T^2 KL(teacher || student)` at temperature T (Hinton et al. 2015). "sigmoid": binary
            cross-entropy against the teacher's probabilities minus their entropy, summed over answers.
        teacher: Logits at full capacity, `[*batch, answers]`.
        student: Logits of the trimmed pass, `[*batch, answers]`.
        temperature: T; not used by "sigmoid".

    Returns:
        The distance of each row, `[*batch]`; 0 for equal logits.
    """
    teacher = jax.lax.stop_gradient(teacher)
    if kind == "softmax":
        log_teacher = jax.nn.log_softmax(teacher / temperature)
        log_student = jax.nn.log_softmax(student / temperature)
        divergence: Array = optax.losses.kl_divergence_with_log_targets(log_student, log_teacher)
        return temperature**2 * divergence
    targets = jax.nn.sigmoid(teacher)
    cross_entropy = optax.losses.sigmoid_binary_cross_entropy(student, targets)
    return jnp.sum(cross_entropy - optax.losses.sigmoid_binary_cross_entropy(teacher, targets), axis=-1)
