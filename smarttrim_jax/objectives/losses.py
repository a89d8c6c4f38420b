"""What a pass is judged by, one number for every example: the task's loss, and its distance from the full pass."""

from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

LossKind = Literal["softmax", "sigmoid"]


def soft_targets(
    ids: Int[Array, "batch given"], weights: Float[Array, "batch given"], answers: int
) -> Float[Array, "batch answers"]:
    """How much each answer of the data set counts, from the few that every example gives.

    Args:
        ids: Numbers of answers; negative ones have no place among the answers.
        weights: Of these answers, 0 for fillers.
        answers: How many the data set has.
    """
    return jnp.einsum("bg,bga->ba", weights, jax.nn.one_hot(ids, answers, dtype=weights.dtype))


def soft_task_loss(
    kind: LossKind, logits: Float[Array, "batch answers"], targets: Float[Array, "batch answers"]
) -> Float[Array, " batch"]:
    """The task's loss for several right answers that count differently.

    Args:
        kind: "softmax" is cross-entropy with the targets as shares of their sum; "sigmoid" METER's VQA loss, binary
            cross-entropy summed over answers (the official mean times the number of answers).
        logits: of the answers.
        targets: between 0 and 1, of `soft_targets`.
    """
    if kind == "softmax":
        shares = targets / jnp.maximum(jnp.sum(targets, axis=-1, keepdims=True), jnp.finfo(targets.dtype).tiny)
        return optax.losses.softmax_cross_entropy(logits, shares)
    return jnp.sum(optax.losses.sigmoid_binary_cross_entropy(logits, targets), axis=-1)


def task_loss(
    kind: LossKind, logits: Float[Array, "batch answers"], labels: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """The task's loss for single labels.

    Args:
        kind: "softmax" is cross-entropy; "sigmoid" as in `soft_task_loss`.
        logits: of the answers.
        labels: the right answers.
    """
    if kind == "softmax":
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    return soft_task_loss(kind, logits, jax.nn.one_hot(labels, logits.shape[-1]))


def distillation_loss(
    kind: LossKind,
    teacher: Float[Array, "*batch answers"],
    student: Float[Array, "*batch answers"],
    temperature: float,
) -> Float[Array, "*batch"]:
    """How far the trimmed logits are from the full ones, one number for each row; the teacher gets no gradient.

    Args:
        kind: "softmax": `T^2 KL(teacher || student)` at temperature T (Hinton et al. 2015); "sigmoid": binary
            cross-entropy against the teacher's probabilities less its entropy, summed over answers.
        teacher: logits at full capacity.
        student: logits of the trimmed pass.
        temperature: T; the sigmoid form does not use it.
    """
    teacher = jax.lax.stop_gradient(teacher)
    if kind == "softmax":
        log_teacher = jax.nn.log_softmax(teacher / temperature)
        log_student = jax.nn.log_softmax(student / temperature)
        return temperature**2 * optax.losses.kl_divergence_with_log_targets(log_student, log_teacher)
    targets = jax.nn.sigmoid(teacher)
    cross_entropy = optax.losses.sigmoid_binary_cross_entropy(student, targets)
    return jnp.sum(cross_entropy - optax.losses.sigmoid_binary_cross_entropy(teacher, targets), axis=-1)
