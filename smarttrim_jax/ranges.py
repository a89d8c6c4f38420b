"""What numbers and names a setting may have, declared where the setting is: `heads: PositiveInt = 12`.

Every rule is a positive statement about the value, so that NaN, of which nothing holds, is refused by all of them.
"""

import ctypes
import math
import os
import re
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

MOST_STEPS = 2**31 - 1  # steps are counted in int32 on the device
MOST_LAYERS = 1000  # a program has every one of them, unless they are scanned
LONGEST_NAME = 255  # bytes of a file's name, on every common file system
BUCKETS = ("gs://",)


class Rule(NamedTuple):
    """What holds of every accepted value.

    Attributes:
        accepts: Whether it holds of a value of the setting's type.
        meaning: How an error says it, behind "it must be".
    """

    accepts: Callable[[Any], bool]
    meaning: str


def at_least(low: float) -> Rule:
    """Numbers from `low` on."""
    return _numbers(lambda number: low <= number, f"at least {low}")


def above(low: float) -> Rule:
    """Numbers greater than `low`."""
    return _numbers(lambda number: low < number, f"above {low}")


def between(low: float, high: float) -> Rule:
    """Numbers from `low` to `high`."""
    return _numbers(lambda number: low <= number <= high, f"between {low} and {high}")


def from_up_to(low: float, high: float) -> Rule:
    """Numbers from `low` on that are smaller than `high`."""
    return _numbers(lambda number: low <= number < high, f"at least {low} and below {high}")


def above_up_to(low: float, high: float) -> Rule:
    """Numbers greater than `low`, up to `high`."""
    return _numbers(lambda number: low < number <= high, f"above {low} and at most {high}")


def is_finite(number: float) -> bool:
    """Whether a number is finite, in float32 too: that is what settings are computed with."""
    return math.isfinite(ctypes.c_float(number).value)


def _numbers(test: Callable[[float], bool], meaning: str) -> Rule:
    """A test of numbers, and of floats also as float32 has them: 1 - 1e-9 is 1 there, and 1e-60 is 0."""

    def accepts(value: float) -> bool:
        return test(value) and (not isinstance(value, float) or test(ctypes.c_float(value).value))

    return Rule(accepts, meaning)


def _is_path(text: str) -> bool:
    is_elsewhere = re.match(r"[a-zA-Z][\w+.-]*:/", text) is not None and not text.startswith(BUCKETS)
    try:
        names = os.fsencode(text).split(b"/")
    except UnicodeEncodeError:
        return False
    return not is_elsewhere and "\0" not in text and max(map(len, names)) <= LONGEST_NAME


_PATH = f"a path on a disk or a bucket's (gs://...), in names of at most {LONGEST_NAME} bytes"

not_empty = Rule(bool, "not empty")

PositiveInt = Annotated[int, at_least(1)]
NonNegativeInt = Annotated[int, at_least(0)]
PositiveFloat = Annotated[float, above(0)]
NonNegativeFloat = Annotated[float, at_least(0)]
Fraction = Annotated[float, between(0, 1)]
"""A share, none and all among them."""
ShareBelowOne = Annotated[float, from_up_to(0, 1)]
"""Of what is dropped or decays: something stays."""
ShareAboveZero = Annotated[float, above_up_to(0, 1)]
"""Of what is kept: something is."""
SpeedUp = Annotated[float, between(1, 1000)]
"""MACs of the full model over those of the trimmed one; the global tokens alone are more than a thousandth."""
Seed = Annotated[int, between(0, 2**32 - 1)]
"""What JAX, NumPy and grain all take."""
StepCount = Annotated[int, between(0, MOST_STEPS)]
PositiveStepCount = Annotated[int, between(1, MOST_STEPS)]
Depth = Annotated[int, between(1, MOST_LAYERS)]
Name = Annotated[str, Rule(lambda text: bool(text.strip()), "a name that is not empty")]
Path = Annotated[str, Rule(lambda text: bool(text) and _is_path(text), _PATH)]
PathOrNone = Annotated[str, Rule(_is_path, f"{_PATH}; or empty")]
