"""What earlier versions wrote into a run's folder, as today's has it."""

from collections.abc import Mapping
from typing import Any


def report_of_today(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report whose scores are metrics by name; earlier ones have the accuracy of each pass alone.

    Args:
        report: Content of a `report.json`; what it holds may be anything.

    Returns:
        The report, with `metrics` and `primary` in the place of `accuracy`.
    """
    if "accuracy" not in report:
        return dict(report)
    today = {name: value for name, value in report.items() if name != "accuracy"}
    accuracy = report["accuracy"]
    by_pass = isinstance(accuracy, dict)
    metrics = {which: {"accuracy": value} for which, value in accuracy.items()} if by_pass else accuracy
    return today | {"primary": "accuracy", "metrics": metrics}
