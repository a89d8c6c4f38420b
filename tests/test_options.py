"""Several settings in one text."""

import dataclasses
from typing import Literal

import pytest

from smarttrim_jax.configuration import Settings
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.options import read_options
from smarttrim_jax.ranges import PositiveInt


@dataclasses.dataclass(frozen=True)
class Meal(Settings):
    """A field of every simple type."""

    plates: PositiveInt = 1
    hot: bool = False
    cook: Literal["anna", "ben"] = "anna"
    salt: float | None = 0.5
    note: str = ""


@pytest.mark.parametrize(
    ("text", "meal"),
    [
        ("", Meal()),
        ("hot", Meal(hot=True)),
        ("hot=false,plates=3", Meal(plates=3)),
        (" plates = 12 , cook=ben,", Meal(plates=12, cook="ben")),
        ("salt=None,note=a=b", Meal(salt=None, note="a=b")),
        ("salt=2", Meal(salt=2.0)),
    ],
)
def test_options_are_read(text: str, meal: Meal) -> None:
    assert read_options(Meal, text, "meal") == meal


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plate=3", "unknown config key 'meal.plate'; did you mean 'plates'?"),
        ("cold", "unknown config key 'meal.cold'"),
        ("plates", "meal is 'plates'; give 'plates' a value, as plates=VALUE"),
        ("plates=0", "meal.plates is 0; it must be"),
        ("plates=two", "meal.plates is 'two'; it must be"),
        ("salt=nan", "meal.salt is nan"),
        ("hot,hot=1", "meal is 'hot,hot=1', which sets 'hot' twice"),
        ("cook=carl", "meal.cook is 'carl'; accepted: 'anna', 'ben'"),
    ],
)
def test_wrong_options_are_named(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_options(Meal, text, "meal")
    assert message in str(error.value)
