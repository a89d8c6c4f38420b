"""Recall of retrieval between images and texts."""

from collections.abc import Mapping
from typing import Any

import numpy as np

RANKS = (1, 5, 10)
AT_ONCE = 1024
"""The number of rows of similarities held in memory at once: a split of 25,000 pairs has 625 million similarities."""


class Recall:
    """`recall`: the mean of recall at 1, 5 and 10 in both directions; and each of these six numbers.

    `text_recall@5` is the share of images with a right text among their 5 most similar texts, `image_recall@5` the
    share of texts with a right image among their 5 most similar images. An image and a text belong together if they
    have the same label. A right candidate is ranked after all wrong ones of equal similarity, so features that are
    all equal or NaN have recall 0.
    """

    def __init__(self) -> None:
        self._images: list[np.ndarray] = []
        self._texts: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Adds some pairs.

        Args:
            outputs: `image_features` and `text_features`, `[examples, features]`.
            targets: `label`, `[examples]`, equal for images and texts that belong together.
        """
        self._images.append(np.asarray(outputs["image_features"]))
        self._texts.append(np.asarray(outputs["text_features"]))
        self._labels.append(np.asarray(targets["label"]))

    def compute(self) -> dict[str, float]:
        """Returns the seven shares, their mean first; `recall` alone, which is NaN, before the first example."""
        if not any(map(len, self._labels)):
            return {"recall": float("nan")}
        images, texts, labels = (np.concatenate(parts) for parts in (self._images, self._texts, self._labels))
        ranks = {"text": _ranks(images, texts, labels), "image": _ranks(texts, images, labels)}
        recalls = {f"{side}_recall@{k}": float(np.mean(ranks[side] < k)) for side in ranks for k in RANKS}
        return {"recall": float(np.mean(list(recalls.values()))), **recalls}


def _ranks(queries: np.ndarray, candidates: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts the wrong candidates that are at least as similar to each query as its most similar right one.

    Args:
        queries: `[queries, features]`.
        candidates: `[candidates, features]`, as many as queries.
        labels: `[queries]`, the labels of queries and candidates.

    Returns:
        `[queries]`; 0 for a query whose most similar candidate is right.
    """
    ranks = []
    for start in range(0, len(queries), AT_ONCE):
        similarities = queries[start : start + AT_ONCE] @ candidates.T  # [at once, candidates]
        belongs = labels[start : start + AT_ONCE, None] == labels
        best = np.where(belongs, similarities, -np.inf).max(axis=1, keepdims=True)
        # "not less" instead of ">=", so that NaN counts as at least as similar.
        ranks.append((~belongs & ~(similarities < best)).sum(axis=1))
    return np.concatenate(ranks)
