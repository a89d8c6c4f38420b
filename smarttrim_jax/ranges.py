"""The ranges of settings, declared as the type of a field: `heads: PositiveInt = 12`.

Each rule is a positive statement about the value, so NaN, for which no comparison holds, is refused by all of them.
"""

import ctypes
import math
import os
import re
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

MOST_STEPS = 2**31 - 1  # steps are counted in int32 on the device
MOST_LAYERS = 1000  # a program contains each layer, unless they are scanned
LONGEST_NAME = 255  # bytes of a file's name on all common file systems
BUCKETS = ("gs://",)


class Rule(NamedTuple):
    """A condition on accepted values.

    Attributes:
        accepts: Function that tells whether a value of the setting's type is accepted.
        meaning: The condition in words, which follow "it must be" in an error.
    """

    accepts: Callable[[Any], bool]
    meaning: str


def at_least(low: float) -> Rule:
    """Makes the rule for numbers from a bound on.

    Args:
        low: The smallest accepted number.

    Returns:
        The rule.
    """
    return _numbers(lambda number: low <= number, f"at least {low}")


def above(low: float) -> Rule:
    """Makes the rule for numbers greater than a bound.

    Args:
        low: The bound, which is not accepted.

    Returns:
        The rule.
    """
    return _numbers(lambda number: low < number, f"above {low}")


def between(low: float, high: float) -> Rule:
    """Makes the rule for numbers between two bounds.

    Args:
        low: The smallest accepted number.
        high: The largest accepted number.

    Returns:
        The rule.
    """
    return _numbers(lambda number: low <= number <= high, f"between {low} and {high}")


def from_up_to(low: float, high: float) -> Rule:
    """Makes the rule for numbers from a bound on and below another.

    Args:
        low: The smallest accepted number.
        high: The upper bound, which is not accepted.

    Returns:
        The rule.
    """
    return _numbers(lambda number: low <= number < high, f"at least {low} and below {high}")


def above_up_to(low: float, high: float) -> Rule:
    """Makes the rule for numbers above a bound and up to another.

    Args:
        low: The lower bound, which is not accepted.
        high: The largest accepted number.

    Returns:
        The rule.
    """
    return _numbers(lambda number: low < number <= high, f"above {low} and at most {high}")


def is_finite(number: float) -> bool:
    """Tells whether a number is finite in float32, in which settings are used.

    Args:
        number: An int or a float.

    Returns:
        Whether it is neither infinite nor NaN after conversion to float32.
    """
    return math.isfinite(ctypes.c_float(number).value)


def _numbers(test: Callable[[float], bool], meaning: str) -> Rule:
    """Makes a rule from a test of numbers.

    Floats must pass the test in float32 too: 1 - 1e-9 is 1 there, and 1e-60 is 0.
    """

    def accepts(value: float) -> bool:
        return test(value) and (not isinstance(value, float) or test(ctypes.c_float(value).value))

    return Rule(accepts, meaning)


def _is_path(text: str) -> bool:
    """Whether a text is a path on a disk or in a supported bucket."""
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
"""A share from 0 to 1."""
ShareBelowOne = Annotated[float, from_up_to(0, 1)]
"""A share that is dropped or decays: less than all of it."""
ShareAboveZero = Annotated[float, above_up_to(0, 1)]
"""A share that is kept: more than nothing."""
SpeedUp = Annotated[float, between(1, 1000)]
"""MACs of the full model over those of the trimmed one; the global tokens alone take more than a thousandth."""
Seed = Annotated[int, between(0, 2**32 - 1)]
"""A seed that JAX, NumPy and grain accept."""
StepCount = Annotated[int, between(0, MOST_STEPS)]
PositiveStepCount = Annotated[int, between(1, MOST_STEPS)]
Depth = Annotated[int, between(1, MOST_LAYERS)]
Name = Annotated[str, Rule(lambda text: bool(text.strip()), "a name that is not empty")]
Path = Annotated[str, Rule(lambda text: bool(text) and _is_path(text), _PATH)]
special_token = Rule(
    lambda text: re.fullmatch(r"(\[[A-Za-z]+\])?", text) is not None, "letters in square brackets, or empty"
)
SpecialToken = Annotated[str, special_token]
"""A token such as [CLS], which no text that is read can hold; or none."""
PathOrNone = Annotated[str, Rule(_is_path, f"{_PATH}; or empty")]
