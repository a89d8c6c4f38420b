"""Retrieval over a whole split: texts encoded and pairs judged once all images are known."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import Mesh

from smarttrim_jax.data.sentences import clean_text
from smarttrim_jax.data.text import TextEncoder
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.models.functional import Params
from smarttrim_jax.progress import ProgressLine
from smarttrim_jax.sharding import held_rows, place, place_batch, replicated
from smarttrim_jax.trimming.gates import Trim


@runtime_checkable
class SearchableTask(Protocol):
    """A task whose model compares images and texts; see `tasks.retrieval.Pairs` for the two functions.

    Attributes:
        config: Run configuration; its `data` tells how texts are read.
        text: Tokenizer of the texts.
    """

    config: ExperimentConfig
    text: TextEncoder

    def text_features(self, params: Params, ids: jax.Array, mask: jax.Array, trim: Trim | None) -> jax.Array:
        """Encodes texts, `[batch, features]`."""

    def match_logits(
        self,
        params: Params,
        images: tuple[jax.Array, jax.Array],
        of_images: jax.Array,
        ids: jax.Array,
        mask: jax.Array,
        trim: Trim | None,
    ) -> jax.Array:
        """Judges pairs, `[batch]`."""


class SplitRetriever:
    """A model as `metrics.retrieval.Retriever`, by padded execution, in batches over all devices.

    With several processes all must make the same calls.

    Args:
        task: Task of the model.
        params: The model's parameters, placed on the mesh.
        mesh: Mesh of the evaluation.
        trim: How the trimmers decide; None for full capacity.
        size: Number of texts or pairs of a batch over all processes.
    """

    def __init__(self, task: SearchableTask, params: Params, mesh: Mesh, trim: Trim | None, size: int):
        self._task = task
        self._params = params
        self._mesh = mesh
        self._trim = trim
        self._size = size
        self._features: Callable[..., jax.Array] = jax.jit(task.text_features, out_shardings=replicated(mesh))
        self._logits: Callable[..., jax.Array] = jax.jit(task.match_logits, out_shardings=replicated(mesh))

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Encodes texts on their own; see `Retriever.encode_texts`.

        Args:
            texts: Texts.

        Returns:
            Features of length 1, `[texts, features]`.

        Raises:
            DataError: A text is empty, or not a string of valid characters.
        """
        ids, mask = self._encoded(texts)

        def features(rows: np.ndarray) -> jax.Array:
            return self._features(self._params, *self._placed(ids[rows], mask[rows]), self._trim)

        return self._in_batches(len(texts), "encoding texts", features)

    def match(
        self,
        images: tuple[np.ndarray, np.ndarray],
        texts: Sequence[str],
        of_images: np.ndarray,
        of_texts: np.ndarray,
    ) -> np.ndarray:
        """Judges pairs of an image and a text; see `Retriever.match`.

        Args:
            images: Tokens of all images, `[images, tokens, width]`, and their gates, `[images, tokens]`.
            texts: Texts.
            of_images: Number of each pair's image, `[pairs]`.
            of_texts: Number of each pair's text, `[pairs]`.

        Returns:
            Logit that image and text match, `[pairs]`.

        Raises:
            DataError: A text is empty, or not a string of valid characters.
        """
        ids, mask = self._encoded(texts)

        def logits(rows: np.ndarray) -> jax.Array:
            # Each image of the batch is copied to the devices once; a power of two of them, for few programs.
            numbers, places = np.unique(of_images[rows], return_inverse=True)
            numbers = np.resize(numbers, 1 << (len(numbers) - 1).bit_length())
            some = tuple(place(part[numbers], replicated(self._mesh)) for part in images)
            pairs = self._placed(places.astype(np.int32), ids[of_texts[rows]], mask[of_texts[rows]])
            return self._logits(self._params, some, *pairs, self._trim)

        return self._in_batches(len(of_images), "judging candidates", logits)

    def _encoded(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        data = self._task.config.data
        cleaned = (clean_text(text, data.text_cleaning, data.max_words, data.prompt) for text in texts)
        ids, mask = zip(*(self._task.text.encode(sentence) for sentence, _ in cleaned), strict=True)
        return np.stack(ids), np.stack(mask)

    def _placed(self, *arrays: np.ndarray) -> Any:
        """Places a batch's arrays, of which every process has all rows, on the devices that hold them."""
        mine = held_rows(self._mesh, self._size)
        return place_batch(tuple(array[mine] for array in arrays), self._mesh)

    def _in_batches(self, count: int, what: str, function: Callable[[np.ndarray], jax.Array]) -> np.ndarray:
        """Calls a function with the rows of each batch; the last batch is filled up with its first row."""
        results = []
        with ProgressLine(what, -(-count // self._size), "batches") as progress:
            for start in progress.over(range(0, count, self._size)):
                rows = np.arange(start, min(start + self._size, count))
                filled = np.concatenate([rows, np.full(self._size - len(rows), start)])
                results.append(jax.device_get(function(filled))[: len(rows)])
        return np.concatenate(results)
