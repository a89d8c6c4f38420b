"""How well images and texts find each other."""

from collections.abc import Mapping
from typing import Any

import numpy as np

RANKS = (1, 5, 10)
AT_ONCE = 1024
"""Rows of similarities in memory: a split of 25,000 pairs has 625 million."""


class Recall:
    """`recall`: the mean of recall at 1, 5 and 10 in both directions; and each of these six.

    `text_recall@5` is the share of images among whose 5 most similar texts one belongs to them, `image_recall@5` the
    share of texts among whose 5 most similar images one does. What has the same label belongs together. A right
    candidate counts as found behind all wrong ones that are as similar, so that features which are all the same, or
    no numbers, find nothing.
    """

    def __init__(self) -> None:
        self._images: list[np.ndarray] = []
        self._texts: list[np.ndarray] = []
        self._labels: list[np.ndarray] = []

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Takes some pairs.

        Args:
            outputs: `image_features` and `text_features`, `[examples, features]`.
            targets: `label`, `[examples]`: what belongs together has the same.
        """
        self._images.append(np.asarray(outputs["image_features"]))
        self._texts.append(np.asarray(outputs["text_features"]))
        self._labels.append(np.asarray(targets["label"]))

    def compute(self) -> dict[str, float]:
        """The seven shares, their mean first."""
        if not any(map(len, self._labels)):
            return {"recall": float("nan")}
        images, texts, labels = (np.concatenate(parts) for parts in (self._images, self._texts, self._labels))
        ranks = {"text": _ranks(images, texts, labels), "image": _ranks(texts, images, labels)}
        recalls = {f"{side}_recall@{k}": float(np.mean(ranks[side] < k)) for side in ranks for k in RANKS}
        return {"recall": float(np.mean(list(recalls.values()))), **recalls}


def _ranks(queries: np.ndarray, candidates: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many wrong candidates are at least as similar to each query as the most similar right one, `[queries]`."""
    ranks = []
    for start in range(0, len(queries), AT_ONCE):
        similarities = queries[start : start + AT_ONCE] @ candidates.T  # [at once, candidates]
        belongs = labels[start : start + AT_ONCE, None] == labels
        best = np.where(belongs, similarities, -np.inf).max(axis=1, keepdims=True)
        # Not ">=", of which nothing holds where a feature is no number.
        ranks.append((~belongs & ~(similarities < best)).sum(axis=1))
    return np.concatenate(ranks)
