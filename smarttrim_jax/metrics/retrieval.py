"""Recall of retrieval between images and texts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

RANKS = (1, 5, 10)
AT_ONCE = 1024
"""The number of rows of similarities held in memory at once: a split of 25,000 pairs has 625 million similarities."""


class Retriever(Protocol):
    """What a model computes for retrieval once all images are known.

    A metric with a method `search` is given one after all examples, before `compute`; all processes search alike.
    """

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Encodes texts on their own.

        Args:
            texts: Texts.

        Returns:
            Features of length 1, `[texts, features]`.
        """

    def match(
        self,
        images: tuple[np.ndarray, np.ndarray],
        texts: Sequence[str],
        of_images: np.ndarray,
        of_texts: np.ndarray,
    ) -> np.ndarray:
        """Judges pairs of an image and a text; fastest where pairs of one image follow one another.

        Args:
            images: Outputs `image_tokens` and `image_gates` of all images, `[images, tokens, width]` and
                `[images, tokens]`.
            texts: Texts.
            of_images: Number of each pair's image, `[pairs]`.
            of_texts: Number of each pair's text, `[pairs]`.

        Returns:
            Logit that image and text match, `[pairs]`.
        """


class Side(NamedTuple):
    """All images or all texts.

    Attributes:
        features: `[examples, features]`.
        labels: Equal for images and texts that belong together, `[examples]`.
    """

    features: np.ndarray
    labels: np.ndarray


class Recall:
    """`recall`: the mean of recall at 1, 5 and 10 in both directions; and each of these six numbers.

    `text_recall@5` is the share of images with a right text among their 5 most similar texts, `image_recall@5` the
    share of texts with a right image among their 5 most similar images. An image and a text belong together if they
    have the same label. A right candidate is ranked after all wrong ones of equal similarity, so features that are
    all equal or NaN have recall 0.

    Where records have several references, each of them is a text of its own, as in the official evaluation of BLIP.
    """

    needs: tuple[str, ...] = ("references",)

    def __init__(self) -> None:
        self._images: list[np.ndarray] = []
        self._texts: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []
        self._references: list[list[str]] = []
        self._reference_features: np.ndarray | None = None

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Adds some pairs.

        Args:
            outputs: `image_features` and `text_features`, `[examples, features]`.
            targets: `label`, `[examples]`, equal for images and texts that belong together. `references`, for each
                example a list of the texts of its record, where there are several.
        """
        self._images.append(np.asarray(outputs["image_features"]))
        self._texts.append(np.asarray(outputs["text_features"]))
        self._labels.append(np.asarray(targets["label"]))
        self._references += targets.get("references", ())

    def search(self, retriever: Retriever) -> None:
        """Encodes all references of records that have several; the first of each has been encoded already.

        Args:
            retriever: The evaluated model.
        """
        if any(len(texts) > 1 for texts in self._references):
            self._reference_features = retriever.encode_texts(self.all_references)

    def compute(self) -> dict[str, float]:
        """Returns the seven shares, their mean first; `recall` alone, which is NaN, before the first example."""
        if not any(map(len, self._labels)):
            return {"recall": float("nan")}
        images, texts = self.sides
        return recalls({"text": _ranks(images, texts), "image": _ranks(texts, images)})

    def chance(self) -> dict[str, float]:
        """Returns the seven shares that candidates in a random order have on average."""
        return chance_recalls(self._labels, self._references)

    @property
    def all_references(self) -> list[str]:
        """The references of all records so far, one after the other."""
        return [text for texts in self._references for text in texts]

    @property
    def sides(self) -> tuple[Side, Side]:
        """All images and all texts so far."""
        labels = np.concatenate(self._labels)
        images = Side(np.concatenate(self._images), labels)
        if self._reference_features is None:
            return images, Side(np.concatenate(self._texts), labels)
        return images, Side(self._reference_features, labels_of_texts(labels, self._references))


def labels_of_texts(labels: np.ndarray, references: Sequence[Sequence[str]]) -> np.ndarray:
    """Gives each reference the label of its image.

    Args:
        labels: Labels of the images, `[images]`.
        references: The texts of each image.

    Returns:
        Labels of the texts of all images, one after the other, `[texts]`.
    """
    return np.repeat(labels, [len(texts) for texts in references])


def recalls(ranks: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Computes recall at 1, 5 and 10.

    Args:
        ranks: Number of wrong candidates before the first right one of each query, `[queries]`, by kind of candidate.

    Returns:
        The shares by name, their mean `recall` first.
    """
    return _with_mean({f"{side}_recall@{k}": float(np.mean(ranks[side] < k)) for side in ranks for k in RANKS})


def chance_recalls(labels: Sequence[np.ndarray], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Computes what recall at 1, 5 and 10 is on average where candidates come in a random order.

    Args:
        labels: Labels of some images at a time, equal for images and texts that belong together.
        references: The texts of each image; empty where each image has one.

    Returns:
        The shares by name, their mean `recall` first; NaN alone without images.
    """
    of_images = np.concatenate([np.zeros(0, np.int64), *labels])
    if not len(of_images):
        return {"recall": float("nan")}
    of_texts = labels_of_texts(of_images, references) if references else of_images
    sides = {"text": (of_images, of_texts), "image": (of_texts, of_images)}
    return _with_mean({f"{side}_recall@{k}": _chance(*sides[side], k) for side in sides for k in RANKS})


def _with_mean(shares: dict[str, float]) -> dict[str, float]:
    return {"recall": float(np.mean(list(shares.values()))), **shares}


def _chance(queries: np.ndarray, candidates: np.ndarray, k: int) -> float:
    """The mean probability over queries that one of `k` random candidates has the query's label."""
    found, counts = np.unique(candidates, return_counts=True)
    right = dict(zip(found.tolist(), counts.tolist(), strict=True))
    count = len(candidates)
    wrong = np.array([count - right.get(label, 0) for label in queries.tolist()])
    drawn = np.arange(min(k, count))
    return float(np.mean(1 - np.prod(np.maximum(wrong[:, None] - drawn, 0) / (count - drawn), axis=1)))


def similarities(queries: Side, candidates: Side) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Compares queries with all candidates, some queries at a time.

    Args:
        queries: All queries.
        candidates: All candidates.

    Yields:
        Labels of some queries, `[at once]`, and their similarities, `[at once, candidates]`.
    """
    for start in range(0, len(queries.labels), AT_ONCE):
        some = slice(start, start + AT_ONCE)
        yield queries.labels[some], queries.features[some] @ candidates.features.T


def _ranks(queries: Side, candidates: Side) -> np.ndarray:
    """Counts the wrong candidates that are at least as similar to each query as its most similar right one.

    Args:
        queries: All queries.
        candidates: All candidates.

    Returns:
        `[queries]`; 0 for a query whose most similar candidate is right.
    """
    ranks = []
    for labels, scores in similarities(queries, candidates):
        ranks.append(wrong_before(scores, labels[:, None] == candidates.labels))
    return np.concatenate(ranks)


def wrong_before(scores: np.ndarray, belongs: np.ndarray) -> np.ndarray:
    """Counts the wrong candidates of each query that score at least as high as its best right one.

    Args:
        scores: Scores of the candidates, `[queries, candidates]`.
        belongs: Whether a candidate is right, `[queries, candidates]`.

    Returns:
        `[queries]`; all wrong candidates where none is right.
    """
    best = np.where(belongs, scores, -np.inf).max(axis=1, keepdims=True)
    # "not less" instead of ">=", so that NaN counts as at least as high.
    count: np.ndarray = (~belongs & ~(scores < best)).sum(axis=1)
    return count
