"""Self-distillation: the trimmed pass learns from the same model's full-capacity pass."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from smarttrim_jax.objectives.task import LossKind


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
