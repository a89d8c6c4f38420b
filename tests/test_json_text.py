"""JSON from elsewhere is read as it was written, or refused in the same words wherever it is read from."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smarttrim_jax.json_text import MOST_NESTED, parse_json

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(VALUES)
def test_what_is_read_can_be_written_and_read_again(value: Any) -> None:
    read = parse_json(json.dumps(value))
    assert read == value
    assert parse_json(json.dumps(read)) == read


@pytest.mark.parametrize("kind", ["[{}]", '{{"a": {}}}'])
@pytest.mark.parametrize("deeper", [0, 1, 850, 890, 900, 100_000])
def test_depth_is_judged_the_same_from_everywhere(kind: str, deeper: int) -> None:
    begin, end = kind.format(" ").split()
    text = begin * (MOST_NESTED + deeper) + "1" + end * (MOST_NESTED + deeper)
    assert said(text, 0) == said(text, sys.getrecursionlimit() // 2) == ("nested deeper than 100" if deeper else "")


def said(text: str, calls: int) -> str:
    """Why a text is refused when it is read from so many calls deep; "" if it is not."""
    if calls:
        return said(text, calls - 1)
    try:
        parse_json(text)
    except ValueError as error:
        return str(error).removeprefix("it is ")
    return ""


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}', "1e999", "-1e400", "9" * 5000])
def test_numbers_beyond_the_standard_are_refused_in_short(text: str) -> None:
    with pytest.raises(ValueError, match="number") as raised:
        parse_json(text)
    assert "sys." not in str(raised.value)
