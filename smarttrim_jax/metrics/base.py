"""What every metric is: update and compute over named values of examples, on the host."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from smarttrim_jax.errors import ConfigError, quoted


class Metric(Protocol):
    """Scores what a model said about the examples of a split.

    A metric of a user's own is a class with these two methods that is constructed without arguments; it is named as
    `package.module:Name`. Every real example of the split is given exactly once, however the split is divided into
    batches, devices and processes; what fills up a last batch is left out. All processes update alike, so that all
    compute the same.

    A class attribute `needs`, a tuple of names, may ask a task for outputs that it computes on demand alone, because
    they take long (a written `caption`).
    """

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Takes some examples.

        Args:
            outputs: What the model said, by name: arrays whose first axis is that of the examples, or lists of
                texts, one for each example. See `Task.named_values` for the names.
            targets: What is right, in the same way.
        """

    def compute(self) -> Mapping[str, float]:
        """The scores over all examples so far, by name; the first counts as the metric's own."""


class NamedValues(dict[str, Any]):
    """Values by name; a name that is not there is an error that says which are.

    Args:
        kind: What errors call one of the values, for example "output".
        values: Values by name.
        on_demand: Further names that would be there for a metric that `needs` them.
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
    """The mean of one number for every example."""

    def __init__(self) -> None:
        self._sum = 0.0
        self._count = 0

    def add(self, values: Any) -> None:
        """Takes the numbers of some examples, `[examples]`."""
        numbers = np.asarray(values, np.float64)
        self._sum += float(numbers.sum())
        self._count += len(numbers)

    @property
    def value(self) -> float:
        """The mean so far; NaN before the first example."""
        return self._sum / self._count if self._count else float("nan")
