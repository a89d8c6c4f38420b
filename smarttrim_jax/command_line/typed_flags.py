"""Flags that take the values of settings: `define("speedup", SpeedUp, None, "...")`, with the same errors."""

import ast
import contextlib
import dataclasses
import types
import typing
import warnings
from typing import Any

from absl import flags

from smarttrim_jax.configuration import conform, kinds
from smarttrim_jax.errors import CommandLineError, ConfigError

flags.disclaim_key_flags()  # A flag belongs to the module that calls `define`, not to this one.

_NO_LITERAL = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
_NUMBERS: dict[Any, Any] = {int: int, float: float, bool: flags.BooleanParser().parse}


def define(name: str, hint: Any, default: Any, meaning: str) -> flags.FlagHolder[Any]:
    """Defines a flag whose value is of an annotated type.

    Args:
        name: Name of the flag.
        hint: Type of its value, with the rules of `smarttrim_jax.ranges`; lists are written as `1,2` or `[1, 2]`.
        default: Value where the flag is not given; None is accepted for every type.
        meaning: Help text of the flag.

    Returns:
        Holder whose `value` can be read once the command line has been parsed.
    """
    parser = _Parser(name, hint)
    serializer: flags.ArgumentSerializer[Any] = flags.ArgumentSerializer()
    return flags.DEFINE_flag(flags.Flag(parser, serializer, name, default, meaning, boolean=_plain(hint) is bool))


def from_text(hint: Any, text: str) -> Any:
    """Converts a text to the value of an annotated type that it stands for.

    Args:
        hint: The type.
        text: Text as it was typed.

    Returns:
        The value; the text itself if it stands for no value of the type.
    """
    hint = _plain(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if types.NoneType in arguments and text == "None":
            return None
        values = [from_text(option, text) for option in arguments if option is not types.NoneType]
        return next((value for value in values if value != text), text)
    if origin is typing.Literal:
        return next((option for option in arguments if str(option) == text), text)
    if origin is tuple:
        if text.lstrip()[:1] in ("(", "["):
            return _literal(text)
        return [from_text(arguments[0], part.strip()) for part in text.split(",")] if text.strip() else []
    if dataclasses.is_dataclass(hint) or kinds(hint):
        return _literal(text)
    with contextlib.suppress(ValueError):
        return _NUMBERS.get(hint, str)(text)
    return text


class _Parser(flags.ArgumentParser[Any]):
    """Reads the texts of one flag."""

    def __init__(self, name: str, hint: Any):
        self._name, self._hint = name, hint

    def parse(self, argument: Any) -> Any:
        """Converts a text, or checks a default.

        Args:
            argument: Text of the flag, or its default value.

        Returns:
            The value.

        Raises:
            CommandLineError: The flag does not accept the value.
        """
        value = from_text(self._hint, argument) if isinstance(argument, str) else argument
        try:
            return conform(self._hint, value, f"--{self._name}")
        except ConfigError as error:
            raise CommandLineError(str(error)) from None


def _plain(hint: Any) -> Any:
    """Removes the rules from a type."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint


def _literal(text: str) -> Any:
    """Evaluates a text as a Python literal; returns the text itself if it is none."""
    with warnings.catch_warnings(), contextlib.suppress(*_NO_LITERAL):
        warnings.simplefilter("ignore")  # Unknown escape sequences in strings cause warnings.
        return ast.literal_eval(text)
    return text
