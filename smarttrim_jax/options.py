"""Settings written as text: one value, or several as `name=value,name=value`."""

import ast
import contextlib
import dataclasses
import types
import typing
import warnings
from collections.abc import Mapping
from typing import Any, TypeVar

from smarttrim_jax.configuration import build, field_types, kinds
from smarttrim_jax.errors import ConfigError, quoted

T = TypeVar("T")

_NO_LITERAL = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
_TRUTHS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def read_variant(argument: str, variants: Mapping[str, type[T]], name: str) -> T:
    """Builds the options of a configuration's variant from the argument of its `get_config`.

    Args:
        argument: Name of a variant, and behind a comma its options: "trim,speedup=2.5".
        variants: Dataclass of each variant's options, whose fields all have defaults, by the variant's name.
        name: Name of the configuration in errors, for example `meter/vqav2`.

    Returns:
        The options.

    Raises:
        ConfigError: There is no such variant, or it has no such option or value.
    """
    variant, _, options = argument.partition(",")
    if variant not in variants:
        raise ConfigError(f"{name} has no variant {quoted(variant)}; it has: {', '.join(variants)}")
    return read_options(variants[variant], options, f"{name}:{variant}")


def read_options(cls: type[T], text: str, path: str) -> T:
    """Builds settings from a text.

    Args:
        cls: A dataclass whose fields all have defaults.
        text: `name=value,name=value`; a name alone sets a field that is True or False to True; "" for the defaults.
        path: Name of the text in errors, for example `config.data.options`.

    Returns:
        The settings.

    Raises:
        ConfigError: A name is unknown or there twice, or a value is not accepted.
    """
    hints = field_types(cls)
    values: dict[str, Any] = {}
    for item in filter(None, map(str.strip, text.split(","))):
        name, equals, value = (part.strip() for part in item.partition("="))
        if name in values:
            raise ConfigError(f"{path} is {quoted(text)}, which sets {quoted(name)} twice; set it once")
        if not equals and without_rules(hints.get(name)) is not bool and name in hints:
            raise ConfigError(f"{path} is {quoted(text)}; give {quoted(name)} a value, as {name}=VALUE")
        values[name] = from_text(hints.get(name), value) if equals else True
    return build(cls, values, path)


def from_text(hint: Any, text: str) -> Any:
    """Converts a text to the value of an annotated type that it stands for.

    Args:
        hint: The type.
        text: Text as it was typed.

    Returns:
        The value; the text itself if it stands for no value of the type.
    """
    hint = without_rules(hint)
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
    if hint is bool:
        return _TRUTHS.get(text.lower(), text)
    with contextlib.suppress(ValueError):
        return hint(text) if hint in (int, float) else text
    return text


def without_rules(hint: Any) -> Any:
    """Returns an annotated type without the rules of `smarttrim_jax.ranges`."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint


def _literal(text: str) -> Any:
    """Evaluates a text as a Python literal; returns the text itself if it is none."""
    with warnings.catch_warnings(), contextlib.suppress(*_NO_LITERAL):
        warnings.simplefilter("ignore")  # Unknown escape sequences in strings cause warnings.
        return ast.literal_eval(text)
    return text
