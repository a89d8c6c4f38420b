"""Image-text contrastive learning and matching (official file blip_retrieval.py of BLIP), as pure functions.

A second set of parameters follows the first slowly, the momentum model; its features, those of earlier batches in a
queue among them, are what the first model's are compared with. Arrays are those of the global batch.
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
"""The identity of a place in the queue that nothing was put into yet."""


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
    queue_size: Annotated[int, between(1, 2**31 - 1)] = 57600  # an int32 points at the next
    alpha: Fraction = 0.4
    alpha_fraction: Fraction = 0.15


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Queue:
    """Features of the momentum model from earlier batches.

    Attributes:
        images: `[queue, features]`.
        texts: `[queue, features]`.
        identities: `[queue]`, equal for what belongs together.
        pointer: the next place to be filled.
    """

    images: Float[Array, "queue features"]
    texts: Float[Array, "queue features"]
    identities: Int[Array, " queue"]
    pointer: Int[Array, ""]


def empty_queue(key: jax.Array, queue_size: int, features: int) -> Queue:
    """A queue of random directions that belong to nothing.

    Args:
        key: of the directions.
        queue_size: Pairs that the queue holds (57600 in the official settings); a multiple of the batch.
        features: width of the vectors.
    """
    images, texts = jax.random.normal(key, (2, queue_size, features), jnp.float32)

    def unit(vectors: Array) -> Array:
        return vectors / jnp.linalg.norm(vectors, axis=-1, keepdims=True)

    return Queue(unit(images), unit(texts), jnp.full(queue_size, NOBODY, jnp.int32), jnp.zeros((), jnp.int32))


def enqueue(
    queue: Queue,
    images: Float[Array, "batch features"],
    texts: Float[Array, "batch features"],
    identities: Int[Array, " batch"],
) -> Queue:
    """The queue with the oldest features replaced by these.

    Raises:
        ValueError: a batch whose multiple the queue is not.
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
    """The momentum model's parameters, a little nearer to the model's.

    Args:
        momentum: of the momentum model.
        params: of the model.
        rate: share that stays.
    """
    return jax.tree.map(lambda slow, fast: rate * slow + (1.0 - rate) * fast, momentum, params)


def soft_targets(
    similarities: Float[Array, "batch candidates"],
    own: Int[Array, " batch"],
    candidates: Int[Array, " candidates"],
    alpha: Float[Array, ""] | float,
) -> Float[Array, "batch candidates"]:
    """What belongs together in equal shares, mixed with what the momentum model finds alike; no gradient.

    Args:
        similarities: of the momentum model, over the temperature.
        own: identities of the rows.
        candidates: identities of the columns.
        alpha: share of the momentum model (0.4, risen to over the first two epochs).
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
    """The contrastive loss, image to text and text to image in equal parts, one number per example.

    Args:
        images: features of the model, of length 1.
        texts: features of the model, of length 1.
        momentum_images: of the momentum model for the same images.
        momentum_texts: of the momentum model for the same texts.
        identities: equal for what belongs together.
        queue: of earlier batches.
        temperature: of the similarities; see `bounded_temperature`.
        alpha: see `soft_targets`.
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
    """How far the trimmed pass ranks candidates from how the full one does, the mean of both directions.

    Args:
        teacher: images' and texts' features at full capacity; without gradient.
        student: those of the trimmed pass.
        momentum_images: candidates of this batch, of the momentum model.
        momentum_texts: candidates of this batch, of the momentum model.
        queue: candidates of earlier batches.
        temperature: of the similarities; without gradient.
        softness: of the distillation, see `distillation_loss`.
    """
    texts = jnp.concatenate([momentum_texts, queue.texts])
    images = jnp.concatenate([momentum_images, queue.images])
    temperature = jax.lax.stop_gradient(temperature)
    to_texts, to_images = (
        distillation_loss("softmax", full @ columns.T / temperature, trimmed @ columns.T / temperature, softness)
        for full, trimmed, columns in zip(teacher, student, (texts, images), strict=True)
    )
    return (to_texts + to_images) / 2


def bounded_temperature(temperature: Float[Array, ""]) -> Float[Array, ""]:
    """The learned temperature, kept between .001 and .5; to be applied to the parameter before every step."""
    return jnp.clip(temperature, 0.001, 0.5)


def hard_negatives(
    key: jax.Array,
    images: Float[Array, "batch features"],
    texts: Float[Array, "batch features"],
    identities: Int[Array, " batch"],
    temperature: Float[Array, ""],
) -> tuple[Int[Array, " batch"], Int[Array, " batch"]]:
    """A wrong image for every text and a wrong text for every image, the likelier the more alike.

    Args:
        key: of the draw.
        images: features, of length 1.
        texts: features, of length 1.
        identities: equal for what belongs together, which is never drawn.
        temperature: of the similarities.

    Returns:
        Rows of images, for every text; rows of texts, for every image.
    """
    same = identities[:, None] == identities
    similarities = jax.lax.stop_gradient(images @ texts.T / temperature)
    image_key, text_key = jax.random.split(key)

    def draw(key: jax.Array, scores: Array) -> Array:
        # Where all belong together there is no wrong one: any is drawn.
        allowed = ~same | jnp.all(same, axis=1, keepdims=True)
        return jax.random.categorical(key, jnp.where(allowed, scores, -jnp.inf), axis=1)

    return draw(image_key, similarities.T), draw(text_key, similarities)


def itm_loss(
    right: Float[Array, "batch 2"],
    wrong_image: Float[Array, "batch 2"],
    wrong_text: Float[Array, "batch 2"],
) -> Float[Array, " batch"]:
    """The matching loss, the mean over an example's right pair and two wrong ones.

    Args:
        right: logits (no match, match) of the pairs that belong together.
        wrong_image: of every text with a wrong image.
        wrong_text: of every image with a wrong text.
    """
    logits = jnp.stack([right, wrong_image, wrong_text], axis=1)
    labels = jnp.broadcast_to(jnp.array([1, 0, 0]), logits.shape[:2])
    return jnp.mean(optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels), axis=1)
