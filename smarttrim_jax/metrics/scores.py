"""The registered metrics by name, and the scores of several metrics together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from smarttrim_jax.configuration import shown
from smarttrim_jax.errors import ConfigError, SmartTrimError, quoted, reason
from smarttrim_jax.metrics.base import Metric
from smarttrim_jax.metrics.captions import CocoCaptions
from smarttrim_jax.metrics.groups import AccuracyByType, Consistency
from smarttrim_jax.metrics.judging import JudgedRecall
from smarttrim_jax.metrics.reranking import RerankedRecall, RerankedRecall128
from smarttrim_jax.metrics.retrieval import Recall, Retriever
from smarttrim_jax.metrics.shares import Accuracy, WordAccuracy
from smarttrim_jax.metrics.vqa import VqaAccuracy
from smarttrim_jax.registry import Registry

T = TypeVar("T")

METRICS: Registry[Callable[[], Metric]] = Registry(
    "metric",
    {
        "accuracy": Accuracy,
        "accuracy_by_type": AccuracyByType,
        "coco_captions": CocoCaptions,
        "consistency": Consistency,
        "judged_recall": JudgedRecall,
        "recall": Recall,
        "reranked_recall": RerankedRecall,
        "reranked_recall_128": RerankedRecall128,
        "vqa_accuracy": VqaAccuracy,
        "word_accuracy": WordAccuracy,
    },
)
"""The classes of the metrics, by name."""


class Scores:
    """Several metrics over the same examples.

    Args:
        names: Names of the metrics, the primary one first: registered names, or `package.module:Name` of modules that
            are already imported.

    Attributes:
        needs: Names of the on-demand outputs and targets that the metrics ask for.

    Raises:
        ConfigError: A metric does not exist or cannot be constructed.
    """

    def __init__(self, names: Sequence[str]):
        self._metrics = {name: _made(name) for name in names}
        self.needs = frozenset(need for metric in self._metrics.values() for need in getattr(metric, "needs", ()))

    def update(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Adds some examples to all metrics; see `Metric.update`.

        Args:
            outputs: The model's outputs by name.
            targets: The right answers by name.

        Raises:
            ConfigError: A metric asks for a value that does not exist, or fails.
        """
        for name, metric in self._metrics.items():
            _explained(name, lambda metric=metric: metric.update(outputs, targets))  # type: ignore[misc]

    def rehearse(self, outputs: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Adds examples with made-up outputs, to see whether there is everything that the metrics ask for.

        Args:
            outputs: Outputs of the right names and shapes; what they hold may be more than a metric can bear.
            targets: The right answers by name.

        Raises:
            ConfigError: A metric asks for a value that does not exist.
        """
        for name, metric in self._metrics.items():
            try:
                metric.update(outputs, targets)
            except SmartTrimError as error:
                raise ConfigError(f"the metric {quoted(name)} does not fit: {reason(error)}") from error
            except Exception:  # Whatever else goes wrong may lie in the values.
                continue

    def search(self, retriever: Retriever) -> None:
        """Lets the metrics of retrieval search, once all examples have been added; see `metrics.retrieval.Retriever`.

        Args:
            retriever: The evaluated model.

        Raises:
            ConfigError: A metric fails.
        """
        for name, metric in self._metrics.items():
            search = getattr(metric, "search", None)
            if search is not None:
                _explained(name, lambda search=search: search(retriever))  # type: ignore[misc]

    def compute(self) -> dict[str, float | None]:
        """Returns the scores of all metrics by name, those of the primary one first; None for one that is not finite.

        Raises:
            ConfigError: A metric fails, or returns something other than numbers by name, or two metrics return the
                same name.
        """
        return self._scores("compute")

    def chance(self) -> dict[str, float | None]:
        """Returns the scores that need no look at the examples, of the metrics that know them; see `Metric`.

        Raises:
            ConfigError: As in `compute`.
        """
        return self._scores("chance")

    def _scores(self, method: str) -> dict[str, float | None]:
        """The results of one method of all metrics that have it."""
        scores: dict[str, float | None] = {}
        for name, metric in self._metrics.items():
            if not hasattr(metric, method):
                continue
            computed = _explained(name, getattr(metric, method))
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
    """Constructs the metric of a name."""
    metric = _explained(name, METRICS.find(name))
    if not callable(getattr(metric, "update", None)) or not callable(getattr(metric, "compute", None)):
        raise ConfigError(f"the metric {quoted(name)} lacks a method update or compute")
    needs = getattr(metric, "needs", ())
    if not isinstance(needs, tuple | list) or not all(isinstance(need, str) for need in needs):
        raise ConfigError(f"the metric {quoted(name)} needs {shown(needs)}; give a tuple of names")
    return metric


def _explained(name: str, function: Callable[[], T]) -> T:
    """Calls a function of a metric, and turns an exception into a ConfigError that names the metric."""
    try:
        return function()
    except Exception as error:
        kind = "" if isinstance(error, SmartTrimError) else f"{type(error).__name__}: "
        raise ConfigError(f"the metric {quoted(name)} fails: {kind}{reason(error)}") from error
