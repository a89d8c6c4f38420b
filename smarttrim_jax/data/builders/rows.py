"""Rows of a data set's lists of questions: parses them, and refuses faulty ones all at once."""

from collections.abc import Callable, Sequence
from typing import Any

from smarttrim_jax.errors import DataError, reason
from smarttrim_jax.json_text import parse_json


def read_json(content: bytes, file: str) -> Any:
    """Parses a JSON document.

    Args:
        content: Bytes of the file.
        file: Name of the file in error messages.

    Returns:
        The parsed value.

    Raises:
        DataError: The document is damaged.
    """
    try:
        return parse_json(content.decode("utf-8-sig"))
    except ValueError as error:
        raise DataError(f"'{file}' is damaged: {reason(error)}; fetch it again") from error


def refuse_bad_rows(file: str, rows: Sequence[Any], problem: Callable[[Any], str], wanted: str) -> None:
    """Checks that all rows can be used.

    Args:
        file: Name of the file in error messages.
        rows: All rows of the file.
        problem: Describes what is wrong with a row; returns "" if nothing is.
        wanted: Description of a correct row.

    Raises:
        DataError: Some rows cannot be used; the message tells how many, and the first with its number from 1.
    """
    problems = {number: what for number, row in enumerate(rows, 1) if (what := problem(row))}
    if problems:
        number, what = next(iter(problems.items()))
        raise DataError(
            f"{len(problems):,} of {len(rows):,} rows of '{file}' cannot be used, row {number} first ({what}); "
            f"a row must be {wanted}"
        )
