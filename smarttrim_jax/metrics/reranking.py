"""Recall of retrieval after candidates have been judged beside the query."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.metrics.retrieval import Recall, Retriever, Side, recalls, similarities, wrong_before


class RerankedRecall(Recall):
    """`reranked_recall`: recall after the most similar candidates have been judged beside the query.

    As in the official evaluation of BLIP (`train_retrieval.py`), each image is paired with its `candidates` most
    similar texts and each text with its `candidates` most similar images; candidates are ranked by the logit that the
    pair matches plus its similarity, all others come after them. The six numbers are those of `recall`, under names
    such as `reranked_text_recall@5`.

    Memory holds the tokens of all images, twice while they are judged: 1.8 MB an image of 384 px with BLIP base.

    Attributes:
        candidates: Number of candidates of a query; BLIP's 256 for COCO.
    """

    needs = ("references", "image_tokens", "image_gates")
    candidates = 256

    def __init__(self) -> None:
        super().__init__()
        self._encoded: list[tuple[np.ndarray, np.ndarray]] = []
        self._ranks: dict[str, np.ndarray] | None = None

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Adds some pairs.

        Args:
            outputs: Those of `Recall.update`; `image_tokens`, `[examples, tokens, width]`, and `image_gates`,
                `[examples, tokens]`.
            targets: `label`, `[examples]`, and `references`, for each example a list of the texts of its record.
        """
        targets["references"]  # Says that they are missing, where they are.
        super().update(outputs, targets)
        self._encoded.append((outputs["image_tokens"], outputs["image_gates"]))

    def search(self, retriever: Retriever) -> None:
        """Judges the candidates of all queries.

        Args:
            retriever: The evaluated model.
        """
        super().search(retriever)
        if not any(map(len, self._labels)):
            return
        images, texts = self.sides
        of_images = _most_similar(images, texts, self.candidates)
        of_texts = _most_similar(texts, images, self.candidates)
        # Each pair is one number, so that a candidate both ways is judged once and pairs of an image are neighbours.
        count = len(texts.labels)
        text_pairs = np.arange(len(images.labels))[:, None] * count + of_images.numbers  # [images, found]
        image_pairs = of_texts.numbers * count + np.arange(count)[:, None]  # [texts, found]
        pairs = np.union1d(text_pairs, image_pairs)
        tokens, gates = (np.concatenate(parts) for parts in zip(*self._encoded, strict=True))
        logits = retriever.match((tokens, gates), self.all_references, *np.divmod(pairs, count))
        self._ranks = {
            "text": _reranked(of_images, logits[np.searchsorted(pairs, text_pairs)], images, texts),
            "image": _reranked(of_texts, logits[np.searchsorted(pairs, image_pairs)], texts, images),
        }

    def compute(self) -> dict[str, float]:
        """Returns the seven shares, their mean first; NaN alone before the first example.

        Raises:
            ConfigError: Nothing was searched.
        """
        if not any(map(len, self._labels)):
            return {"reranked_recall": float("nan")}
        if self._ranks is None:
            raise ConfigError("candidates are judged in evaluations only, by a task that matches images and texts")
        return {f"reranked_{name}": share for name, share in recalls(self._ranks).items()}

    def chance(self) -> dict[str, float]:
        """Returns the seven shares that candidates in a random order have on average."""
        return {f"reranked_{name}": share for name, share in super().chance().items()}


class RerankedRecall128(RerankedRecall):
    """`reranked_recall_128`: `RerankedRecall` with BLIP's number of candidates for Flickr30k."""

    candidates = 128


class Found(NamedTuple):
    """The most similar candidates of each query, in no order.

    Attributes:
        numbers: Their numbers, `[queries, found]`.
        similarities: Their similarities, `[queries, found]`.
    """

    numbers: np.ndarray
    similarities: np.ndarray


def _most_similar(queries: Side, candidates: Side, most: int) -> Found:
    """Finds the most similar candidates of each query, all if there are no more than `most`."""
    count = min(most, len(candidates.labels))
    found = []
    for _, some in similarities(queries, candidates):
        numbers = np.argpartition(-some, count - 1, axis=1)[:, :count]
        found.append(Found(numbers, np.take_along_axis(some, numbers, axis=1)))
    return Found(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _reranked(found: Found, logits: np.ndarray, queries: Side, candidates: Side) -> np.ndarray:
    """Counts the wrong candidates of each query before its first right one; all where no right one was found."""
    belongs = queries.labels[:, None] == candidates.labels[found.numbers]
    ranks = wrong_before(logits + found.similarities, belongs)
    return np.where(belongs.any(axis=1), ranks, len(candidates.labels))
