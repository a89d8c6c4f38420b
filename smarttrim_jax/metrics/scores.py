"""The metrics of an evaluation by name, and all of their scores together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from smarttrim_jax.configuration import shown
from smarttrim_jax.errors import ConfigError, SmartTrimError, quoted, reason
from smarttrim_jax.metrics.base import Metric
from smarttrim_jax.metrics.retrieval import Recall
from smarttrim_jax.metrics.shares import Accuracy, WordAccuracy
from smarttrim_jax.registry import Registry

T = TypeVar("T")

METRICS: Registry[Callable[[], Metric]] = Registry(
    "metric",
    {
        "accuracy": Accuracy,
        "recall": Recall,
        "word_accuracy": WordAccuracy,
    },
)
"""What makes a metric, by name."""


class Scores:
    """Several metrics over the same examples.

    Args:
        names: Of the metrics, the primary one first; registered ones, or `package.module:Name` of modules that are
            imported already.

    Attributes:
        needs: Names of the outputs on demand that the metrics ask for.

    Raises:
        ConfigError: There is no such metric, or it cannot be made.
    """

    def __init__(self, names: Sequence[str]):
        self._metrics = {name: _made(name) for name in names}
        self.needs = frozenset(need for metric in self._metrics.values() for need in getattr(metric, "needs", ()))

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Takes some examples; see `Metric.update`.

        Raises:
            ConfigError: A metric asks for a value that there is not, or fails.
        """
        for name, metric in self._metrics.items():
            _explained(name, lambda metric=metric: metric.update(outputs, targets))  # type: ignore[misc]

    def compute(self) -> dict[str, float | None]:
        """All scores by name, those of the primary metric first; None for one that is not finite.

        Raises:
            ConfigError: A metric fails, computes something else than numbers by name, or a name of another's.
        """
        scores: dict[str, float | None] = {}
        for name, metric in self._metrics.items():
            computed = _explained(name, metric.compute)
            if not isinstance(computed, Mapping) or not computed:
                raise ConfigError(f"the metric {quoted(name)} computes no scores by name; return a dict of numbers")
            for key, value in computed.items():
                if not isinstance(key, str) or isinstance(value, str) or np.ndim(value):
                    raise ConfigError(f"the metric {quoted(name)} computes {shown({key: value})}; return numbers")
                if key in scores:
                    raise ConfigError(f"two metrics compute {quoted(key)}; leave one of them out")
                number = _explained(name, lambda value=value: float(value))  # type: ignore[misc]
                scores[key] = number if np.isfinite(number) else None
        return scores


def _made(name: str) -> Metric:
    """The metric of a name, without examples."""
    metric = _explained(name, METRICS.find(name))
    if not callable(getattr(metric, "update", None)) or not callable(getattr(metric, "compute", None)):
        raise ConfigError(f"the metric {quoted(name)} lacks a method update or compute")
    return metric


def _explained(name: str, function: Callable[[], T]) -> T:
    """What a function of a metric returns; what it raises becomes one sentence about the metric."""
    try:
        return function()
    except Exception as error:
        kind = "" if isinstance(error, SmartTrimError) else f"{type(error).__name__}: "
        raise ConfigError(f"the metric {quoted(name)} fails: {kind}{reason(error)}") from error
