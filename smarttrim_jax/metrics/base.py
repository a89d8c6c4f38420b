"""The protocol of metrics, which update and compute over named values of examples on the host."""

import collections
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from smarttrim_jax.errors import ConfigError, quoted


class Metric(Protocol):
    """Scores a model's outputs on the examples of a split.

    A user's own metric is a class with these two methods that is constructed without arguments; it is named as
    `package.module:Name`. Each real example of the split is passed exactly once, however the split is divided into
    batches, devices and processes; fillers of a last batch are left out. All processes update alike, so all compute
    the same scores.

    A class attribute `needs`, a tuple of names, requests outputs and targets that are computed or read on demand
    only, because they take long: outputs of the task (such as a generated `caption`), and targets that stand in the
    records of the data set, such as `metadata`, one dict of JSON values per example.

    A metric of retrieval may have a third method, `search`; see `metrics.retrieval.Retriever`. A metric may have a
    method `chance`, which returns some of the scores of `compute` as they are without a look at image and text: those
    of the best constant answer, or of candidates in a random order. Reports show them beside the model's.
    """

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Adds some examples.

        Args:
            outputs: The model's outputs by name: arrays whose first axis is that of the examples, or lists with one
                text per example. See `Task.named_values` for the names.
            targets: The right answers, in the same form.
        """

    def compute(self) -> Mapping[str, float]:
        """Returns the scores over all examples so far, by name; the first one stands for the metric."""


class NamedValues(dict[str, Any]):
    """Values by name. Asking for a name that is missing raises an error that lists the available names.

    Args:
        kind: What the error calls one of the values, for example "output".
        values: Values by name.
        on_demand: Further names that would be available to a metric that `needs` them.
    """

    def __init__(self, kind: str, values: Mapping[str, Any], on_demand: Sequence[str] = ()):
        super().__init__(values)
        self._kind = kind
        self._on_demand = on_demand

    def __missing__(self, name: str) -> Any:
        if name in self._on_demand:
            raise ConfigError(
                f"the {self._kind} {quoted(name)} is computed on demand; give the metric's class needs = ({name!r},)"
            )
        known = ", ".join(map(repr, self)) or "none"
        raise ConfigError(f"there is no {self._kind} {quoted(name)}; this task gives: {known}")


class Mean:
    """The running mean of one number per example."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._count = 0

    def add(self, values: Any) -> None:
        """Adds the numbers of some examples.

        Args:
            values: Numbers or booleans, `[examples]`.
        """
        numbers = np.asarray(values, np.float64)
        self._sum += float(numbers.sum())
        self._count += len(numbers)

    @property
    def value(self) -> float:
        """The mean so far; NaN before the first example."""
        return self._sum / self._count if self._count else float("nan")


class MeansByGroup:
    """The running mean of one number per example, for each of several groups of examples."""

    def __init__(self) -> None:
        self._means: dict[str, Mean] = collections.defaultdict(Mean)

    def add(self, values: Iterable[float], groups: Iterable[str]) -> None:
        """Adds the numbers of some examples.

        Args:
            values: Numbers or booleans, `[examples]`.
            groups: Name of the group of each example, `[examples]`.
        """
        for value, group in zip(values, groups, strict=True):
            self._means[group].add([value])

    @property
    def values(self) -> dict[str, float]:
        """The mean of each group so far, in the order of their names."""
        return {group: self._means[group].value for group in sorted(self._means)}


def metadata_texts(targets: Mapping[str, Any], key: str) -> list[str]:
    """Reads a text from the metadata of every example.

    Args:
        targets: Targets of some examples, with `metadata`.
        key: Key of the metadata.

    Returns:
        The text of each example.

    Raises:
        ConfigError: The metadata of an example has no text of this key.
    """
    texts = [metadata.get(key) for metadata in targets["metadata"]]
    for text in texts:
        if not isinstance(text, str):
            raise ConfigError(
                f"the metadata of an example has {quoted(text)} as {key}; take data that has it as text"
            )
    return texts
