"""Metrics that are the mean of one number for every example."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from smarttrim_jax.metrics.base import Mean


class Accuracy:
    """`accuracy`: the share of examples whose first choice is right."""

    def __init__(self) -> None:
        self._mean = Mean()

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Takes some examples.

        Args:
            outputs: `choice`, the number of the chosen answer, `[examples]`.
            targets: `label`, the number of the right one, `[examples]`.
        """
        self._mean.add(np.asarray(outputs["choice"]) == np.asarray(targets["label"]))

    def compute(self) -> dict[str, float]:
        """The share."""
        return {"accuracy": self._mean.value}


class WordAccuracy:
    """`word_accuracy`: the share of a text's words that are the likeliest behind those before, on average."""

    def __init__(self) -> None:
        self._mean = Mean()

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Takes some examples.

        Args:
            outputs: `right_words`, the share of each text's words, `[examples]`.
            targets: Nothing is read of them: the right words are those that the model was given.
        """
        self._mean.add(outputs["right_words"])

    def compute(self) -> dict[str, float]:
        """The mean share."""
        return {"word_accuracy": self._mean.value}
