"""Images and texts compared by a retrieval model, in batches of any number of them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import Array, Float, Float32, Int32, UInt8

from smarttrim_jax.data.images import normalize
from smarttrim_jax.execution.auto import make_executor
from smarttrim_jax.models.blip.retrieval import ImageEncoder
from smarttrim_jax.models.functional import Params
from smarttrim_jax.tasks.retrieval import Pairs
from smarttrim_jax.tokens import Tokens
from smarttrim_jax.trimming.gates import Trim

T = TypeVar("T")


class EncodedText(NamedTuple):
    """A text as the model reads it.

    Attributes:
        ids: Token ids, `[tokens]`.
        mask: 1 for tokens, 0 for padding, `[tokens]`.
    """

    ids: Int32[np.ndarray, " tokens"]
    mask: Int32[np.ndarray, " tokens"]


class EncodedImages(NamedTuple):
    """Some images, encoded on their own; the last ones may be fillers.

    Attributes:
        features: Features of length 1, `[images, features]`.
        tokens: Tokens after the last layer, `[images, patches, width]`.
        gates: 0 for closed tokens, `[images, patches]`.
    """

    features: Float32[np.ndarray, "images features"]
    tokens: Float[Array, "images patches width"]
    gates: Float[Array, "images patches"]


class Comparing:
    """Encodes images by the execution that the configuration names, texts by padded execution, and judges pairs.

    Batches are filled up with copies of their first entry, so that few programs are compiled.

    Args:
        task: The retrieval task.
        params: The model's parameters.
    """

    def __init__(self, task: Pairs, params: Params):
        self._task = task
        self._params = params
        self._encode = make_executor(ImageEncoder(task.config.model), params, task.config.execution)
        self._features = jax.jit(task.text_features)
        self._logits = jax.jit(task.match_logits)
        self._pad = jax.jit(_padded)

    def encode_images(
        self, pixels: Sequence[UInt8[np.ndarray, "1 size size 3"]], size: int, trim: Trim | None
    ) -> EncodedImages:
        """Encodes images.

        Args:
            pixels: The images, each `[1, size, size, 3]`; at least one, and at most `size`.
            size: Number of images of the batch.
            trim: How the trimmers decide; None runs at full capacity.

        Returns:
            The encoded images, fillers included.
        """
        images = normalize(np.stack(_filled(pixels, size)), self._task.config.pixels)
        output = self._encode(images, trim=trim)
        tokens, gates = self._pad(output.state["image"])
        return EncodedImages(np.asarray(output.logits["features"]), tokens, gates)

    def encode_texts(
        self, texts: Sequence[EncodedText], size: int, trim: Trim | None
    ) -> Float32[np.ndarray, "texts features"]:
        """Encodes texts on their own.

        Args:
            texts: The texts; at least one.
            size: Upper bound on the number of texts of a batch.
            trim: How the trimmers decide; None runs at full capacity.

        Returns:
            Features of length 1, `[texts, features]`.
        """
        found = []
        for some in batched(texts, size):
            ids, mask = (np.stack(part) for part in zip(*_filled(some, min(size, len(texts))), strict=True))
            found.append(np.asarray(self._features(self._params, ids, mask, trim))[: len(some)])
        return np.concatenate(found)

    def match(self, images: EncodedImages, text: EncodedText, trim: Trim | None) -> Float32[np.ndarray, " images"]:
        """Judges whether images match a text, by the matching head.

        Args:
            images: The images.
            text: The text.
            trim: How the trimmers decide; None runs at full capacity.

        Returns:
            Logit of "match" for each image, `[images]`.
        """
        count = len(images.features)
        ids, mask = (np.tile(part, (count, 1)) for part in text)
        pairs = (images.tokens, images.gates), np.arange(count, dtype=np.int32), ids, mask
        return np.asarray(self._logits(self._params, *pairs, trim))


def batched(parts: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Divides a sequence into batches.

    Args:
        parts: The sequence.
        size: Length of a batch.

    Yields:
        The batches in order; the last one may be shorter.
    """
    for start in range(0, len(parts), size):
        yield parts[start : start + size]


def _filled(parts: Sequence[T], size: int) -> list[T]:
    """The parts, followed by copies of the first one."""
    return [*parts, *[parts[0]] * (size - len(parts))]


def _padded(images: Tokens) -> tuple[Array, Array]:
    """Tokens `[images, patches, width]` and gates `[images, patches]`."""
    return images.pad(images.values), images.padded_gate
