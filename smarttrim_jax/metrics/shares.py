"""Metrics that are the mean of one number per example."""

import collections
from collections.abc import Mapping
from typing import Any

import numpy as np

from smarttrim_jax.metrics.base import Mean


def are_right(outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> np.ndarray:
    """Tells of every example whether the chosen answer is right.

    Args:
        outputs: `choice`, the index of the chosen answer, `[examples]`.
        targets: `label`, the index of the right answer, `[examples]`.

    Returns:
        Booleans, `[examples]`.
    """
    right: np.ndarray = np.asarray(outputs["choice"]) == np.asarray(targets["label"])
    return right


def largest_share(counts: collections.Counter[int]) -> float:
    """Computes the accuracy of the best constant answer.

    Args:
        counts: Number of examples by the index of their right answer.

    Returns:
        The share of the most frequent answer; NaN without examples.
    """
    return max(counts.values()) / counts.total() if counts else float("nan")


class Accuracy:
    """`accuracy`: the share of examples whose chosen answer is right."""

    def __init__(self) -> None:
        self._mean = Mean()
        self._labels: collections.Counter[int] = collections.Counter()

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Adds some examples.

        Args:
            outputs: `choice`, the index of the chosen answer, `[examples]`.
            targets: `label`, the index of the right answer, `[examples]`.
        """
        self._mean.add(are_right(outputs, targets))
        self._labels.update(np.asarray(targets["label"]).tolist())

    def compute(self) -> dict[str, float]:
        """Returns the share; NaN before the first example."""
        return {"accuracy": self._mean.value}

    def chance(self) -> dict[str, float]:
        """Returns the accuracy of the most frequent answer."""
        return {"accuracy": largest_share(self._labels)}


class WordAccuracy:
    """`word_accuracy`: the share of a text's words that are the likeliest after those before, averaged over texts."""

    def __init__(self) -> None:
        self._mean = Mean()

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Adds some examples.

        Args:
            outputs: `right_words`, the share of each text's words, `[examples]`.
            targets: Not used: the right words are those that the model was given.
        """
        self._mean.add(outputs["right_words"])

    def compute(self) -> dict[str, float]:
        """Returns the mean share; NaN before the first example."""
        return {"word_accuracy": self._mean.value}
