"""Task losses: one number per example."""

from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

LossKind = Literal["softmax", "sigmoid"]


def task_loss(
    kind: LossKind, logits: Float[Array, "batch answers"], labels: Int[Array, " batch"]
) -> Float[Array, " batch"]:
    """The task's loss for single labels.

    Args:
        kind: "softmax" is cross-entropy; "sigmoid" METER's VQA loss, binary cross-entropy summed over answers
            (the official mean times the number of answers).
        logits: of the answers.
        labels: the right answers.
    """
    if kind == "softmax":
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    targets = jax.nn.one_hot(labels, logits.shape[-1])
    return jnp.sum(optax.losses.sigmoid_binary_cross_entropy(logits, targets), axis=-1)
