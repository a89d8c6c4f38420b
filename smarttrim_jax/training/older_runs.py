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


def settings_of_today(settings: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration by today's keys; earlier ones say by `schedule.tensorboard` whether there is that writer.

    Args:
        settings: Content of a `config.json`; what it holds may be anything.

    Returns:
        The settings, with `schedule.writers` in the place of `schedule.tensorboard`.
    """
    schedule = settings.get("schedule")
    if not isinstance(schedule, dict) or not isinstance(schedule.get("tensorboard"), bool):
        return dict(settings)
    kept = {name: value for name, value in schedule.items() if name != "tensorboard"}
    return {**settings, "schedule": {"writers": ["tensorboard"] if schedule["tensorboard"] else [], **kept}}
