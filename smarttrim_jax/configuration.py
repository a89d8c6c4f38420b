"""Strict conversion of untyped settings (a ConfigDict, JSON) to frozen dataclasses.

Library classes never see a ConfigDict; the commands convert it here.
"""

import abc
import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.ranges import Rule, is_finite
from smarttrim_jax.registry import Registry

T = TypeVar("T")

LONGEST_SHOWN = 60
"""The number of characters of a wrong value that its error shows."""


class Settings:
    """Base of all configuration classes, which are frozen dataclasses with checked fields.

    Each field is checked against its type, and against the rule that an alias of `smarttrim_jax.ranges` adds. Scalars
    of NumPy become Python's. Then `check` checks that the fields fit together.

    Raises:
        ConfigError: A field does not accept its value, or values do not fit together.
    """

    FORMER_KEYS: ClassVar[Mapping[str, str]] = {}
    """Renamed keys: the present name by the name in older files."""
    __dataclass_fields__: ClassVar[dict[str, Any]]  # all classes in use are dataclasses

    def __post_init__(self) -> None:
        for name, hint in field_types(type(self)).items():
            value = conform(hint, getattr(self, name), f"{type(self).__name__}.{name}")
            object.__setattr__(self, name, value)
        self.check()

    def check(self) -> None:
        """Checks that the fields, whose values are each accepted, fit together.

        Raises:
            ConfigError: They do not fit together.
        """


class Variants(Settings, abc.ABC):
    """Base of settings of which there are several kinds; each kind is a dataclass that derives from this class.

    Each kind has a field named by `TAG`, a `Literal` of the name that it is registered by.

    Attributes:
        TAG: The key that tells the kind of settings.
        KINDS: The kinds by name.
    """

    TAG: ClassVar[str]
    KINDS: ClassVar[Registry[Any]]


def build(cls: type[T], settings: Mapping[str, Any], path: str = "config") -> T:
    """Builds a frozen dataclass, nested ones included, from settings.

    Args:
        cls: A dataclass type whose fields are scalars, tuples, optional values or other dataclasses. If a field may
            be one of several dataclasses, the one that has most of the settings' keys is built.
        settings: Values by field name; fields left out keep their defaults.
        path: Name of the object in errors, for example `config.model`.

    Returns:
        The dataclass.

    Raises:
        ConfigError: A key is unknown, a key without default is missing, or a value is not accepted.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    former = cls.FORMER_KEYS if issubclass(cls, Settings) else {}
    settings = {former.get(key, key): value for key, value in settings.items()}
    for key in settings:
        if key not in fields:
            close = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(sorted(fields))}"
            raise ConfigError(f"unknown config key '{path}.{key}'; {hint}")
    hints = field_types(cls)
    values = {key: conform(hints[key], value, f"{path}.{key}") for key, value in settings.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise ConfigError(f"config key '{path}.{name}' is missing")
    try:
        return cls(**values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def to_dict(config: Any) -> dict[str, Any]:
    """Converts a dataclass to a plain dict that JSON can hold; `build` reverses it.

    Args:
        config: A dataclass.

    Returns:
        Its fields by name; nested dataclasses become dicts too.
    """
    return dataclasses.asdict(config)


def field_types(cls: Any) -> dict[str, Any]:
    """Lists the annotation of each field of a dataclass, rules included.

    Args:
        cls: The dataclass type.

    Returns:
        The annotations by field name.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def conform(hint: Any, value: Any, path: str) -> Any:
    """Converts a value to an annotated type.

    Ints are accepted for floats, lists for tuples, mappings for dataclasses, and NumPy's scalars for Python's;
    otherwise the value must already be of the type.

    Args:
        hint: A type, with the rules that `Annotated` adds.
        value: The value.
        path: Name of the value in errors.

    Returns:
        The value in that type.

    Raises:
        ConfigError: The value is not accepted.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        value = conform(arguments[0], value, path)
        for rule in arguments[1:]:
            if isinstance(rule, Rule) and not rule.accepts(value):
                raise _wrong(path, value, rule.meaning)
        return value
    if origin in (typing.Union, types.UnionType):
        return _conform_to_one(arguments, value, path)
    if origin is typing.Literal:
        if any(type(value) is type(option) and value == option for option in arguments):
            return value
        raise ConfigError(f"{path} is {shown(value)}; accepted: {', '.join(map(repr, arguments))}")
    if kinds(hint):
        return value if isinstance(value, hint) else _conform_to_kind(hint, value, path)
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):  # type: ignore[arg-type]
            return value
        if isinstance(value, Mapping):
            return build(typing.cast(type, hint), value, path)
        raise _wrong(path, value, "a group of settings")
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(conform(arguments[0], item, f"{path}[{index}]") for index, item in enumerate(value))
    scalar = _SCALARS.get(hint)
    if scalar is not None and isinstance(value, scalar) and (hint is bool or not isinstance(value, bool)):
        return _convert(hint, value, path)
    raise _wrong(path, value, described(hint))


def kinds(hint: Any) -> list[type]:
    """Lists the classes that settings of a `Variants` may have.

    Args:
        hint: Any type.

    Returns:
        The registered classes; empty for a type that is no `Variants`, and for one of the kinds itself.
    """
    if not (isinstance(hint, type) and issubclass(hint, Variants)) or dataclasses.is_dataclass(hint):
        return []
    return [hint.KINDS.find(name) for name in hint.KINDS]


def described(hint: Any) -> str:
    """Describes what a type accepts in words, such as "a whole number, at least 1".

    Args:
        hint: A type, with the rules that `Annotated` adds.

    Returns:
        The description, without a full stop.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        meanings = [rule.meaning for rule in arguments[1:] if isinstance(rule, Rule)]
        return ", ".join(meanings if arguments[0] is str else [described(arguments[0]), *meanings])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(described, arguments)))
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    if origin is tuple:
        return f"a list, each of which is {described(arguments[0])}"
    if dataclasses.is_dataclass(hint) or kinds(hint):
        return "a group of settings"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def shown(value: Any) -> str:
    """Formats a value for an error, whatever its length.

    Args:
        value: Any value.

    Returns:
        Its representation, cut after `LONGEST_SHOWN` characters.
    """
    try:
        text = repr(value)
    except Exception:  # repr may raise anything; for an int with too many digits it does
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


# The types accepted for each scalar type, and its name in errors.
_SCALARS: dict[Any, tuple[type, ...]] = {
    bool: (bool, np.bool_),
    int: (int, np.integer),
    float: (float, int, np.floating, np.integer),
    str: (str,),
}
_WORDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a text", types.NoneType: "None"}


def _convert(scalar: type, value: Any, path: str) -> Any:
    """Converts a value of an accepted type to the exact type; floats must be finite."""
    try:
        converted = scalar(value)
    except OverflowError:
        raise _wrong(path, value, "a finite number") from None
    if scalar is float and not is_finite(converted):
        raise _wrong(path, value, "a finite number, in float32 too")
    if scalar is int and abs(converted) >= 2**63:
        raise _wrong(path, value, "a whole number of at most 63 bits")
    return converted


def _knowing_most(classes: Sequence[type], settings: Mapping[str, Any]) -> type:
    """The class that has most of the keys, so that an error is about its wrong key."""
    return max(classes, key=lambda cls: len(field_types(cls).keys() & settings.keys()))


def _conform_to_kind(hint: type[Variants], value: Any, path: str) -> Any:
    """Builds settings of the kind that they name, or else of the likeliest one. A text is the name of a kind."""
    if isinstance(value, str):
        value = {hint.TAG: value}
    if not isinstance(value, Mapping):
        raise _wrong(path, value, "a group of settings")
    name = value.get(hint.TAG)
    if name is None:
        return build(_knowing_most(kinds(hint), value), value, path)
    try:
        kind = hint.KINDS.find(str(name))
    except ConfigError as error:
        raise ConfigError(f"{path}.{hint.TAG}: {error}") from None
    if not (isinstance(kind, type) and issubclass(kind, hint) and dataclasses.is_dataclass(kind)):
        raise ConfigError(f"{path}.{hint.TAG} is {shown(name)}, which is no dataclass of type {hint.__name__}")
    return build(kind, value, path)


def _conform_to_one(options: tuple[Any, ...], value: Any, path: str) -> Any:
    """Converts a value to one of several types; if it fits none, the error is about the likeliest."""
    if value is None and types.NoneType in options:
        return None
    options = tuple(option for option in options if option is not types.NoneType)
    if isinstance(value, Mapping) and all(map(dataclasses.is_dataclass, options)):
        options = (_knowing_most(options, value),)
    errors = []
    for option in options:
        try:
            return conform(option, value, path)
        except ConfigError as error:
            errors.append(error)
    raise errors[0] if len(options) == 1 else _wrong(path, value, described(typing.Union[options]))  # noqa: UP007 of what is only known here


def _wrong(path: str, value: Any, expected: str) -> ConfigError:
    """The error for a value that is not accepted."""
    return ConfigError(f"{path} is {shown(value)}; it must be {expected}")
