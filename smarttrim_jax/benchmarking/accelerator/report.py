"""The report of what was measured so far, in a file that is complete at any moment."""

import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

from smarttrim_jax.benchmarking.origin import write_figures

SECTIONS = ("rows", "training", "attention", "torch", "left_out")
"""Names of the lists of rows in a report."""


class Report:
    """A report that is written again with every row.

    Args:
        path: File to write; a temporary file beside it is renamed.
        head: JSON-ready description of the machine and the command.
        show: Called with the section and the row whenever a row is added.

    Attributes:
        values: Content of the report: the head, `seconds` since it was begun, and a list for each of `SECTIONS`.

    Raises:
        DataError: The file cannot be written.
    """

    def __init__(self, path: str, head: dict[str, Any], show: Callable[[str, dict[str, Any]], None]):
        self._path, self._show, self._start = pathlib.Path(path), show, time.monotonic()
        self.values: dict[str, Any] = head | {"seconds": 0.0} | {section: [] for section in SECTIONS}
        self._write()

    def set(self, key: str, value: Any) -> None:
        """Sets one value of the head.

        Args:
            key: Name of the value.
            value: JSON-ready value.

        Raises:
            DataError: The file cannot be written.
        """
        self.values[key] = value
        self._write()

    def add(self, section: str, row: dict[str, Any]) -> None:
        """Appends a row to one of `SECTIONS`.

        Args:
            section: Name of the section.
            row: JSON-ready row.

        Raises:
            ValueError: The row cannot be written as JSON; the report stays as it was.
            DataError: The file cannot be written.
        """
        json.dumps(row, allow_nan=False)
        self.values[section].append(row)
        self._show(section, row)
        self._write()

    def leave_out(self, what: str, why: str) -> None:
        """Notes that something was not measured.

        Args:
            what: What was not measured.
            why: The reason, in one sentence.
        """
        self.add("left_out", {"what": what, "why": why})

    def _write(self) -> None:
        self.values["seconds"] = round(time.monotonic() - self._start, 1)
        json.dumps(self.values, allow_nan=False)  # Raises for what is no number.
        write_figures(self._path, self.values)
