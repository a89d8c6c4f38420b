"""From untyped settings (a ConfigDict, JSON) to frozen dataclasses, strictly.

Library classes never see a ConfigDict: it ends here, at the commands' border.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from smarttrim_jax.errors import ConfigError

T = TypeVar("T")


def build(cls: type[T], settings: Mapping[str, Any], path: str = "config") -> T:
    """Builds the frozen dataclass `cls` (nested ones too) from `settings`.

    Args:
        cls: a dataclass type whose fields are scalars, tuples, optional values or other dataclasses; of several
            dataclasses that a field may be, the settings are of the one that knows most of their keys.
        settings: values by field name; fields left out keep their defaults.
        path: how errors call the object, for example `config.model`.

    Raises:
        ConfigError: an unknown key, a missing one without default, or a value of another type.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in settings:
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(sorted(fields))}"
            raise ConfigError(f"unknown config key '{path}.{key}'; {hint}")
    hints = typing.get_type_hints(cls)
    values = {key: _convert(hints[key], value, f"{path}.{key}") for key, value in settings.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ConfigError(f"config key '{path}.{name}' is missing")
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def to_dict(config: Any) -> dict[str, Any]:
    """The plain, JSON-ready dict of a dataclass; `build` turns it back."""
    return dataclasses.asdict(config)


def _convert(hint: Any, value: Any, path: str) -> Any:
    """`value` as the annotated type; ints may stand for floats and lists for tuples, nothing else."""
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return build(typing.cast(type, hint), value, path)
        raise _wrong_type(path, value, "a group of settings")
    if origin in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not type(None)]
        if value is None and len(options) < len(typing.get_args(hint)):
            return None
        return _convert(_best_known(options, value), value, path)
    if origin is typing.Literal:
        if value in typing.get_args(hint):
            return value
        accepted = ", ".join(repr(option) for option in typing.get_args(hint))
        raise ConfigError(f"config key '{path}' is {value!r}; accepted: {accepted}")
    if origin is tuple:
        if isinstance(value, list | tuple):
            item = typing.get_args(hint)[0]
            return tuple(_convert(item, element, f"{path}[{i}]") for i, element in enumerate(value))
        raise _wrong_type(path, value, "a list")
    if origin is dict:
        if isinstance(value, Mapping):
            item = typing.get_args(hint)[1]
            return {str(key): _convert(item, element, f"{path}.{key}") for key, element in value.items()}
        raise _wrong_type(path, value, "a group of settings")
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise _wrong_type(path, value, f"of type {hint.__name__}")


def _best_known(options: list[Any], value: Any) -> Any:
    """Of several dataclasses the one that knows most of the keys, so that a wrong key fails on it; else the first."""
    if not isinstance(value, Mapping) or not all(map(dataclasses.is_dataclass, options)):
        return options[0]
    return max(options, key=lambda option: len({field.name for field in dataclasses.fields(option)} & set(value)))


def _wrong_type(path: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(f"config key '{path}' is {value!r} ({type(value).__name__}); it must be {expected}")
