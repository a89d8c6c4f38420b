"""Rows of a data set's lists of questions: read with their damages named, or refused all at once."""

from collections.abc import Callable, Sequence
from typing import Any

from smarttrim_jax.errors import DataError, reason
from smarttrim_jax.json_text import parse_json


def read_json(content: bytes, file: str) -> Any:
    """A JSON document.

    Args:
        content: Of the file.
        file: How an error calls it.

    Raises:
        DataError: It is damaged.
    """
    try:
        return parse_json(content.decode("utf-8-sig"))
    except ValueError as error:
        raise DataError(f"'{file}' is damaged: {reason(error)}; fetch it again") from error


def refuse_bad_rows(file: str, rows: Sequence[Any], problem: Callable[[Any], str], wanted: str) -> None:
    """Makes sure that all rows can be used.

    Args:
        file: How an error calls the file.
        rows: All of them.
        problem: What is wrong with a row; "" if nothing is.
        wanted: What a row must be.

    Raises:
        DataError: Some cannot; it tells how many, and the first with its number from 1.
    """
    problems = {number: what for number, row in enumerate(rows, 1) if (what := problem(row))}
    if problems:
        number, what = next(iter(problems.items()))
        raise DataError(
            f"{len(problems):,} of {len(rows):,} rows of '{file}' cannot be used, row {number} first ({what}); "
            f"a row must be {wanted}"
        )
