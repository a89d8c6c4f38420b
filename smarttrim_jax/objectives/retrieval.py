"""Image-text contrastive learning and matching (official file blip_retrieval.py of BLIP), as pure functions.

A second set of parameters, the momentum model, follows the model's parameters slowly. The model's features are
compared with the momentum model's features of this batch and of earlier batches, which are kept in a queue. Arrays
are those of the global batch.
"""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from smarttrim_jax.configuration import Settings
from smarttrim_jax.objectives.losses import distillation_loss
from smarttrim_jax.ranges import Fraction, between

NOBODY = -100
"""The identity of queue entries that were never filled."""


@dataclasses.dataclass(frozen=True)
class RetrievalConfig(Settings):
    """Contrastive learning against a momentum model; the defaults are the official ones.

    Attributes:
        momentum: Share of the momentum model's parameters that stays at every step.
        queue_size: Pairs of earlier batches that the queue holds; a multiple of the batch.
        alpha: The momentum model's share of the targets.
        alpha_fraction: Share of the steps over which `alpha` rises from 0.
    """

    FORMER_KEYS: ClassVar[Mapping[str, str]] = {"places": "queue_size"}

    momentum: Fraction = 0.995
    queue_size: Annotated[int, between(1, 2**31 - 1)] = 57600  # the pointer to the next entry is an int32
    alpha: Fraction = 0.4
    alpha_fraction: Fraction = 0.15


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Queue:
    """Features of the momentum model from earlier batches.

    Attributes:
        images: Image features, `[queue, features]`.
        texts: Text features, `[queue, features]`.
        identities: `[queue]`, equal for images and texts that belong together.
        pointer: The entry that is filled next, a scalar.
    """

    images: Float[Array, "queue features"]
    texts: Float[Array, "queue features"]
    identities: Int[Array, " queue"]
    pointer: Int[Array, ""]


def empty_queue(key: jax.Array, queue_size: int, features: int) -> Queue:
    """Makes a queue of random directions that belong to no example.

    Args:
        key: Random key of the directions.
        queue_size: Number of pairs that the queue holds (57600 in the official settings); a multiple of the batch.
        features: Width of the features.

    Returns:
        The queue.
    """
    images, texts = jax.random.normal(key, (2, queue_size, features), jnp.float32)

    def unit(vectors: Array) -> Array:
        length: Array = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
        return vectors / length

    return Queue(unit(images), unit(texts), jnp.full(queue_size, NOBODY, jnp.int32), jnp.zeros((), jnp.int32))


def enqueue(
    queue: Queue,
    images: Float[Array, "batch features"],
    texts: Float[Array, "batch features"],
    identities: Int[Array, " batch"],
) -> Queue:
    """Replaces the oldest features of a queue.

    Args:
        queue: The queue.
        images: Image features of the momentum model, `[batch, features]`.
        texts: Text features of the momentum model, `[batch, features]`.
        identities: `[batch]`, equal for images and texts that belong together.

    Returns:
        The queue with the new features.

    Raises:
        ValueError: The queue's size is no multiple of the batch.
    """
    queue_size, batch = queue.identities.shape[0], identities.shape[0]
    if queue_size % batch:
        raise ValueError(f"a queue of {queue_size} pairs is no multiple of the batch, {batch}")

    def put(held: Array, new: Array) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(held, new.astype(held.dtype), queue.pointer, 0)

    return Queue(
        put(queue.images, images),
        put(queue.texts, texts),
        put(queue.identities, identities),
        (queue.pointer + batch) % queue_size,
    )


def momentum_update(momentum: Any, params: Any, rate: float = 0.995) -> Any:
    """Moves the momentum model's parameters towards the model's: `rate * momentum + (1 - rate) * params`.

    Args:
        momentum: Parameters of the momentum model.
        params: Parameters of the model, a tree of the same structure.
        rate: Share of the momentum model's parameters that stays.

    Returns:
        The momentum model's parameters after the step.
    """
    return jax.tree.map(lambda slow, fast: rate * slow + (1.0 - rate) * fast, momentum, params)


def soft_targets(
    similarities: Float[Array, "batch candidates"],
    own: Int[Array, " batch"],
    candidates: Int[Array, " candidates"],
    alpha: Float[Array, ""] | float,
) -> Float[Array, "batch candidates"]:
    """Mixes hard targets (equal shares for all that belong together) with the momentum model's similarities.

    Args:
        similarities: Similarities of the momentum model's features divided by the temperature, `[batch, candidates]`.
        own: Identities of the rows, `[batch]`.
        candidates: Identities of the columns, `[candidates]`.
        alpha: Share of the momentum model in the targets (officially 0.4, reached over the first two epochs).

    Returns:
        Targets whose rows sum to 1, `[batch, candidates]`; no gradient flows through them.
    """
    same = (own[:, None] == candidates).astype(jnp.float32)
    hard = same / jnp.sum(same, axis=1, keepdims=True)
    return jax.lax.stop_gradient(alpha * jax.nn.softmax(similarities, axis=1) + (1.0 - alpha) * hard)


def itc_loss(
    images: Float[Array, "batch features"],
    texts: Float[Array, "batch features"],
    momentum_images: Float[Array, "batch features"],
    momentum_texts: Float[Array, "batch features"],
    identities: Int[Array, " batch"],
    queue: Queue,
    temperature: Float[Array, ""],
    alpha: Float[Array, ""] | float,
) -> Float[Array, " batch"]:
    """The contrastive loss: the mean of image to text and text to image.

    Args:
        images: The model's image features, `[batch, features]`, of length 1.
        texts: The model's text features, `[batch, features]`, of length 1.
        momentum_images: The momentum model's features of the same images.
        momentum_texts: The momentum model's features of the same texts.
        identities: `[batch]`, equal for images and texts that belong together.
        queue: Features of earlier batches.
        temperature: Temperature of the similarities; see `bounded_temperature`.
        alpha: Share of the momentum model in the targets; see `soft_targets`.

    Returns:
        The loss of each example, `[batch]`.
    """
    momentum_images, momentum_texts = jax.lax.stop_gradient((momentum_images, momentum_texts))
    candidates = jnp.concatenate([identities, queue.identities])

    def one_way(own: Array, slow: Array, others: Array, queued: Array) -> Array:
        columns = jnp.concatenate([others, queued])
        targets = soft_targets(slow @ columns.T / temperature, identities, candidates, alpha)
        return -jnp.sum(jax.nn.log_softmax(own @ columns.T / temperature) * targets, axis=1)

    to_text = one_way(images, momentum_images, momentum_texts, queue.texts)
    to_image = one_way(texts, momentum_texts, momentum_images, queue.images)
    return (to_text + to_image) / 2


def row_distillation(
    teacher: tuple[Float[Array, "batch features"], Float[Array, "batch features"]],
    student: tuple[Float[Array, "batch features"], Float[Array, "batch features"]],
    momentum_images: Float[Array, "batch features"],
    momentum_texts: Float[Array, "batch features"],
    queue: Queue,
    temperature: Float[Array, ""],
    softness: float,
) -> Float[Array, " batch"]:
    """The distance of the trimmed pass from the full one in ranking candidates, averaged over both directions.

    Args:
        teacher: Image and text features at full capacity, `[batch, features]` each; they get no gradient.
        student: Image and text features of the trimmed pass.
        momentum_images: The momentum model's features of the images, which are candidates.
        momentum_texts: The momentum model's features of the texts, which are candidates.
        queue: Features of earlier batches, which are candidates too.
        temperature: Temperature of the similarities; it gets no gradient.
        softness: Temperature of the distillation; see `distillation_loss`.

    Returns:
        The distance of each example, `[batch]`.
    """
    texts = jnp.concatenate([momentum_texts, queue.texts])
    images = jnp.concatenate([momentum_images, queue.images])
    temperature = jax.lax.stop_gradient(temperature)
    to_texts, to_images = (
        distillation_loss("softmax", full @ columns.T / temperature, trimmed @ columns.T / temperature, softness)
        for full, trimmed, columns in zip(teacher, student, (texts, images), strict=True)
    )
    return (to_texts + to_images) / 2


def bounded_temperature(temperature: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Clips the learned temperature to 0.001 to 0.5; apply it to the parameter before each step.

    Args:
        temperature: The learned temperature, a scalar.

    Returns:
        The clipped temperature.
    """
    return jnp.clip(temperature, 0.001, 0.5)


def hard_negatives(
    key: jax.Array,
    images: Float[Array, "batch features"],
    texts: Float[Array, "batch features"],
    identities: Int[Array, " batch"],
    temperature: Float[Array, ""],
) -> tuple[Int[Array, " batch"], Int[Array, " batch"]]:
    """Draws a wrong image for each text and a wrong text for each image, with probability by their similarity.

    Args:
        key: Random key of the draw.
        images: Image features, `[batch, features]`, of length 1.
        texts: Text features, `[batch, features]`, of length 1.
        identities: `[batch]`, equal for images and texts that belong together; these are never drawn, unless the
            whole batch belongs together.
        temperature: Temperature of the similarities.

    Returns:
        Indices of images, one for each text, `[batch]`; indices of texts, one for each image, `[batch]`.
    """
    same = identities[:, None] == identities
    similarities = jax.lax.stop_gradient(images @ texts.T / temperature)
    image_key, text_key = jax.random.split(key)

    def draw(key: jax.Array, scores: Array) -> Array:
        # If the whole batch belongs together there is no wrong candidate, so any one is drawn.
        allowed = ~same | jnp.all(same, axis=1, keepdims=True)
        return jax.random.categorical(key, jnp.where(allowed, scores, -jnp.inf), axis=1)

    return draw(image_key, similarities.T), draw(text_key, similarities)


def wrong_texts(key: jax.Array, identities: Int[Array, " batch"], count: int) -> Int[Array, "batch texts"]:
    """Draws wrong texts for each image, all with the same probability and each possibly more than once.

    Args:
        key: Random key of the draw.
        identities: `[batch]`, equal for images and texts that belong together; these are never drawn, unless the
            whole batch belongs together.
        count: Number of texts for each image.

    Returns:
        Indices of texts, `[batch, count]`.
    """
    same = identities[:, None] == identities
    allowed = ~same | jnp.all(same, axis=1, keepdims=True)
    logits = jnp.where(allowed, 0.0, -jnp.inf)[:, None]  # [batch, 1, batch]
    return jax.random.categorical(key, logits, axis=-1, shape=(len(identities), count))


def itm_loss(
    right: Float[Array, "batch 2"],
    wrong_image: Float[Array, "batch 2"],
    wrong_text: Float[Array, "batch 2"],
) -> Float[Array, " batch"]:
    """The matching loss: the mean over each example's right pair and two wrong pairs.

    Args:
        right: Logits (no match, match) of the pairs that belong together, `[batch, 2]`.
        wrong_image: Logits of each text with a wrong image, `[batch, 2]`.
        wrong_text: Logits of each image with a wrong text, `[batch, 2]`.

    Returns:
        The loss of each example, `[batch]`.
    """
    logits = jnp.stack([right, wrong_image, wrong_text], axis=1)
    labels = jnp.broadcast_to(jnp.array([1, 0, 0]), logits.shape[:2])
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels), axis=1)
