"""Accuracy in groups of examples: by the type of a question, and where examples belong together."""

from collections.abc import Mapping
from typing import Any

from smarttrim_jax.metrics.base import Mean, MeansByGroup, metadata_texts
from smarttrim_jax.metrics.shares import are_right


class AccuracyByType:
    """`accuracy_by_type`: the mean of the accuracies of all types of questions; and each of these accuracies.

    The accuracy of the type "color" is the score `accuracy (color)`. The accuracy over all examples is that of the
    metric `accuracy`.
    """

    needs = ("metadata",)

    def __init__(self) -> None:
        self._means = MeansByGroup()

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Adds some examples.

        Args:
            outputs: `choice`, the index of the chosen answer, `[examples]`.
            targets: `label`, the index of the right answer, `[examples]`, and `metadata` with the `question_type`.
        """
        self._means.add(are_right(outputs, targets), metadata_texts(targets, "question_type"))

    def compute(self) -> dict[str, float]:
        """Returns the mean over types and the accuracy of each type; NaN alone before the first example."""
        accuracies = self._means.values
        mean = Mean()
        mean.add(list(accuracies.values()))
        return {"accuracy_by_type": mean.value} | {f"accuracy ({name})": each for name, each in accuracies.items()}


class Consistency:
    """`consistency`: the share of groups of examples all of whose answers are right (NLVR and NLVR2).

    Examples of a group are the same sentence about several images (Suhr et al. 2019, section 4).
    """

    needs = ("metadata",)

    def __init__(self) -> None:
        self._are_right: dict[str, bool] = {}

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Adds some examples; those of a group may come in several parts.

        Args:
            outputs: `choice`, the index of the chosen answer, `[examples]`.
            targets: `label`, the index of the right answer, `[examples]`, and `metadata` with the `group`.
        """
        for is_right, group in zip(are_right(outputs, targets), metadata_texts(targets, "group"), strict=True):
            self._are_right[group] = self._are_right.get(group, True) and bool(is_right)

    def compute(self) -> dict[str, float]:
        """Returns the share; NaN before the first example."""
        mean = Mean()
        mean.add(list(self._are_right.values()))
        return {"consistency": mean.value}
