"""JSON from elsewhere, as its standard has it: whatever is read can be written again, and read again, as it was.

Python's own reader takes more (NaN, numbers that become infinite), and how deep it follows nested lists depends on
where it is called from, so that a text could be read at one time and refused at another.
"""

import json
import math
from typing import Any

MOST_NESTED = 100
"""Lists and objects within each other."""
MOST_DIGITS = 1000
"""Of a whole number; far below what Python converts."""


def parse_json(text: str) -> Any:
    """What a text of JSON holds.

    Args:
        text: The whole text.

    Raises:
        ValueError: It is no JSON, or beyond the bounds above; the message says in what.
    """
    try:
        content = json.loads(text, parse_constant=_no_constant, parse_float=_number, parse_int=_whole_number)
    except RecursionError:
        raise _too_deep() from None
    if _is_deeper_than(MOST_NESTED, content):
        raise _too_deep()
    return content


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:20]} is too large a number")
    return value


def _whole_number(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number has {len(digits):,} digits")
    return int(digits)


def _is_deeper_than(depth: int, content: Any) -> bool:
    """Whether lists and objects lie in each other more than `depth` times."""
    level = [content]
    for _ in range(depth):
        level = [part for part in level if isinstance(part, dict | list)]
        level = [inner for part in level for inner in (part.values() if isinstance(part, dict) else part)]
    return any(isinstance(part, dict | list) for part in level)


def _too_deep() -> ValueError:
    return ValueError(f"it is nested deeper than {MOST_NESTED}")
