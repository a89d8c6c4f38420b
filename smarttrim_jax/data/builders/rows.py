"""Rows of a data set's lists of questions: parses them, and refuses faulty ones all at once."""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

from smarttrim_jax.errors import DataError, quoted, reason
from smarttrim_jax.json_text import parse_json

_NAME = re.compile(r"\w[\w.-]*")


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


def read_list(content: bytes, file: str, key: str = "") -> list[Any]:
    """Parses a JSON document that is a list, or an object with a list.

    Args:
        content: Bytes of the file.
        file: Name of the file in error messages.
        key: Name of the list in the object; "" where the document is the list.

    Returns:
        The list.

    Raises:
        DataError: The document is damaged, or holds no such list.
    """
    parsed = read_json(content, file)
    if key:
        parsed = parsed.get(key) if isinstance(parsed, dict) else None
    if not isinstance(parsed, list):
        raise DataError(f"'{file}' is damaged: it holds no list{f' {quoted(key)}' if key else ''}; fetch it again")
    return parsed


def read_lines(content: bytes) -> list[Any]:
    """Parses the lines of a file of JSON lines, except for blank ones.

    Args:
        content: Bytes of the file.

    Returns:
        The value of each line; None for a damaged one, which `refuse_bad_rows` counts.
    """
    return [_line(line) for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]


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


def refuse_repeated(file: str, names: Sequence[Any], what: str) -> None:
    """Checks that no two rows have the same name.

    Args:
        file: Name of the file in error messages.
        names: Name of each row.
        what: What a name is: "identifier".

    Raises:
        DataError: Some rows have the name of an earlier one; the message tells how many, and the first.
    """
    first: dict[Any, int] = {}
    repeated = [
        (known, number) for number, name in enumerate(names, 1) if (known := first.setdefault(name, number)) != number
    ]
    if repeated:
        known, number = repeated[0]
        raise DataError(
            f"{len(repeated):,} of {len(names):,} rows of '{file}' repeat an earlier one: rows {known} and {number} "
            f"have the same {what} {quoted(names[number - 1])}; fetch it again"
        )


def is_count(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number from 0 on."""
    return type(value) is int and value >= 0


def is_path_below(value: object) -> TypeGuard[str]:
    """Whether a value is the path of a file below a folder: plain names, which lead nowhere else."""
    return isinstance(value, str) and all(map(_NAME.fullmatch, value.split("/")))


def is_file_name(value: object) -> TypeGuard[str]:
    """Whether a value is the plain name of a file or folder, which may become part of a path."""
    return is_path_below(value) and "/" not in value


def _line(line: bytes) -> Any:
    try:
        return parse_json(line.decode())
    except ValueError:
        return None
