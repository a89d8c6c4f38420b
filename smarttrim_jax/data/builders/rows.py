"""Rows of a data set's lists of questions: parses them, and collects the faults of all of them."""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

from smarttrim_jax.data.faults import Faults
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
        The value of each line; None for a damaged one, which is no object.
    """
    return [_line(line) for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]


def good_rows(
    faults: Faults, file: str, rows: Sequence[Any], problem: Callable[[Any], str], key: str = ""
) -> list[Any]:
    """Separates the rows that can be used from faulty ones.

    Args:
        faults: Collects the others, and what is wrong with each.
        file: Name of the file.
        rows: All rows of the file.
        problem: Describes what is wrong with a row, as "its label is no text"; returns "" if nothing is.
        key: Field by which the rows are told apart; "" where they have none.

    Returns:
        The rows that can be used, in order; of those that have the same key, the first.
    """
    good = []
    first: dict[Any, int] = {}
    for number, row in enumerate(rows, 1):
        name = row.get(key) if isinstance(row, dict) else None
        what = problem(row)
        if not what and key and (known := first.setdefault(name, number)) != number:
            what = f"its {key} is that of row {known}"
        if what:
            place = f"row {number} {quoted(name)}" if isinstance(name, str | int) else f"row {number}"
            faults.add(f"faulty rows of {quoted(file)}", f"{place} ({what})")
        else:
            good.append(row)
    return good


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
