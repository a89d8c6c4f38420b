"""Converts files that earlier versions wrote into a run's folder to today's form."""

from collections.abc import Mapping
from typing import Any


def report_of_today(report: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a report to metrics by name; earlier reports have only the accuracy of each pass.

    Args:
        report: Content of a `report.json`, of any version.

    Returns:
        The report with `metrics` and `primary` in place of `accuracy`.
    """
    if "accuracy" not in report:
        return dict(report)
    today = {name: value for name, value in report.items() if name != "accuracy"}
    accuracy = report["accuracy"]
    by_pass = isinstance(accuracy, dict)
    metrics = {which: {"accuracy": value} for which, value in accuracy.items()} if by_pass else accuracy
    return today | {"primary": "accuracy", "metrics": metrics}


def settings_of_today(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Converts a configuration to today's keys.

    Earlier runs have a flag `schedule.tensorboard` instead of writers, and their states hold no measured capacity.

    Args:
        settings: Content of a `config.json`, of any version.

    Returns:
        The settings with `schedule.writers` in place of `schedule.tensorboard`, and `capacity.measured` false where
        it is not given.
    """
    capacity = settings.get("capacity")
    if isinstance(capacity, dict):
        settings = {**settings, "capacity": {"measured": False, **capacity}}
    schedule = settings.get("schedule")
    if not isinstance(schedule, dict) or not isinstance(schedule.get("tensorboard"), bool):
        return dict(settings)
    kept = {name: value for name, value in schedule.items() if name != "tensorboard"}
    return {**settings, "schedule": {"writers": ["tensorboard"] if schedule["tensorboard"] else [], **kept}}
