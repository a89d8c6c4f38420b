"""Accuracy in groups of examples: by the type of a question, and where examples belong together."""

import collections
from collections.abc import Mapping
from typing import Any

import numpy as np

from smarttrim_jax.metrics.base import Mean, MeansByGroup, metadata_texts
from smarttrim_jax.metrics.shares import are_right, largest_share


class AccuracyByType:
    """`accuracy_by_type`: the mean of the accuracies of all types of questions; and each of these accuracies.

    The accuracy of the type "color" is the score `accuracy (color)`. The accuracy over all examples is that of the
    metric `accuracy`.
    """

    needs = ("metadata",)

    def __init__(self) -> None:
        self._means = MeansByGroup()
        self._labels: dict[str, collections.Counter[int]] = collections.defaultdict(collections.Counter)

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Adds some examples.

        Args:
            outputs: `choice`, the index of the chosen answer, `[examples]`.
            targets: `label`, the index of the right answer, `[examples]`, and `metadata` with the `question_type`.
        """
        types = metadata_texts(targets, "question_type")
        self._means.add(are_right(outputs, targets), types)
        for name, label in zip(types, np.asarray(targets["label"]).tolist(), strict=True):
            self._labels[name][label] += 1

    def compute(self) -> dict[str, float]:
        """Returns the mean over types and the accuracy of each type; NaN alone before the first example."""
        return _with_mean(self._means.values)

    def chance(self) -> dict[str, float]:
        """Returns the same of the most frequent answer to each type."""
        return _with_mean({name: largest_share(self._labels[name]) for name in sorted(self._labels)})


class Consistency:
    """`consistency`: the share of groups of examples all of whose answers are right (NLVR and NLVR2).

    Examples of a group are the same sentence about several images (Suhr et al. 2019, section 4).
    """

    needs = ("metadata",)

    def __init__(self) -> None:
        self._are_right: dict[str, bool] = {}
        self._labels: dict[str, set[int]] = collections.defaultdict(set)

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Adds some examples; those of a group may come in several parts.

        Args:
            outputs: `choice`, the index of the chosen answer, `[examples]`.
            targets: `label`, the index of the right answer, `[examples]`, and `metadata` with the `group`.
        """
        groups, labels = metadata_texts(targets, "group"), np.asarray(targets["label"]).tolist()
        for is_right, label, group in zip(are_right(outputs, targets), labels, groups, strict=True):
            self._are_right[group] = self._are_right.get(group, True) and bool(is_right)
            self._labels[group].add(label)

    def compute(self) -> dict[str, float]:
        """Returns the share; NaN before the first example."""
        mean = Mean()
        mean.add(list(self._are_right.values()))
        return {"consistency": mean.value}

    def chance(self) -> dict[str, float]:
        """Returns the consistency of the constant answer that is right for most groups."""
        alike = collections.Counter(label for labels in self._labels.values() if len(labels) == 1 for label in labels)
        return {"consistency": max(alike.values(), default=0) / len(self._labels) if self._labels else float("nan")}


def _with_mean(accuracies: Mapping[str, float]) -> dict[str, float]:
    mean = Mean()
    mean.add(list(accuracies.values()))
    return {"accuracy_by_type": mean.value} | {f"accuracy ({name})": each for name, each in accuracies.items()}
