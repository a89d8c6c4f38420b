"""Strict JSON from unknown sources, so that what was read can be written and read again unchanged.

Python's own reader accepts more (NaN, numbers that become infinite), and the depth to which it follows nested lists
depends on where it is called from, so that it could read a text at one time and refuse it at another.
"""

import json
import math
from typing import Any

MOST_NESTED = 100
"""The largest depth of nested lists and objects."""
MOST_DIGITS = 1000
"""The largest number of digits of a whole number; far below what Python converts."""


def parse_json(text: str) -> Any:
    """Parses a text of JSON.

    Args:
        text: The whole text.

    Returns:
        Its content.

    Raises:
        ValueError: The text is no JSON, or exceeds the bounds of this module; the message says which.
    """
    try:
        content = json.loads(text, parse_constant=_no_constant, parse_float=_number, parse_int=_whole_number)
    except RecursionError:
        raise _too_deep() from None
    if _is_deeper_than(MOST_NESTED, content):
        raise _too_deep()
    return content


def _no_constant(name: str) -> None:
    """Refuses NaN and infinities."""
    raise ValueError(f"{name} is no number")


def _number(digits: str) -> float:
    """Parses a number with a fraction or an exponent; it must be finite."""
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:20]} is too large a number")
    return value


def _whole_number(digits: str) -> int:
    """Parses a whole number of a bounded length."""
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number has {len(digits):,} digits")
    return int(digits)


def _is_deeper_than(depth: int, content: Any) -> bool:
    """Whether lists and objects are nested more than `depth` times."""
    level = [content]
    for _ in range(depth):
        level = [part for part in level if isinstance(part, dict | list)]
        level = [inner for part in level for inner in (part.values() if isinstance(part, dict) else part)]
    return any(isinstance(part, dict | list) for part in level)


def _too_deep() -> ValueError:
    return ValueError(f"it is nested deeper than {MOST_NESTED}")
