"""What was measured so far, in a file that is whole at any moment."""

import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

from smarttrim_jax.errors import DataError
from smarttrim_jax.small_files import write_whole

SECTIONS = ("rows", "training", "attention", "torch", "left_out")
"""The lists of a report."""


class Report:
    """A report that is written again with every row.

    Args:
        path: The file; it is written beside itself and then renamed.
        head: What the report says of the machine and the command.
        show: Takes every row's section and the row.

    Attributes:
        values: The report: the head, `seconds` since it was begun, and a list for each of `SECTIONS`.

    Raises:
        DataError: The file cannot be written.
    """

    def __init__(self, path: str, head: dict[str, Any], show: Callable[[str, dict[str, Any]], None]):
        self._path, self._show, self._start = pathlib.Path(path), show, time.monotonic()
        self.values: dict[str, Any] = head | {"seconds": 0.0} | {section: [] for section in SECTIONS}
        self._write()

    def set(self, key: str, value: Any) -> None:
        """Sets one value of the head."""
        self.values[key] = value
        self._write()

    def add(self, section: str, row: dict[str, Any]) -> None:
        """Appends a row to one of `SECTIONS`.

        Raises:
            ValueError: The row is no JSON; the report stays as it was.
        """
        json.dumps(row, allow_nan=False)
        self.values[section].append(row)
        self._show(section, row)
        self._write()

    def leave_out(self, what: str, why: str) -> None:
        """Says that something was not measured."""
        self.add("left_out", {"what": what, "why": why})

    def _write(self) -> None:
        self.values["seconds"] = round(time.monotonic() - self._start, 1)
        try:
            write_whole(self._path, json.dumps(self.values, indent=1, allow_nan=False))
        except OSError as error:
            raise DataError(f"cannot write '{self._path}': {error.strerror}; choose another --output") from None
