"""From untyped settings (a ConfigDict, JSON) to frozen dataclasses, strictly.

Library classes never see a ConfigDict: it ends here, at the commands' border.
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
"""Characters of a wrong value that its error shows."""


class Settings:
    """Base of every configuration class: a frozen dataclass whose annotations are kept.

    Each field is checked against its type, and against the rule that an alias of `smarttrim_jax.ranges` adds; numbers
    of NumPy become Python's. Then `check` says what the fields must be together.

    Raises:
        ConfigError: A value that a field does not accept, or values that do not fit together.
    """

    FORMER_KEYS: ClassVar[Mapping[str, str]] = {}
    """Today's keys by what files from before call them."""
    __dataclass_fields__: ClassVar[dict[str, Any]]  # every class that is used is a dataclass

    def __post_init__(self) -> None:
        for name, hint in field_types(type(self)).items():
            value = conform(hint, getattr(self, name), f"{type(self).__name__}.{name}")
            object.__setattr__(self, name, value)
        self.check()

    def check(self) -> None:
        """Makes sure that the fields, each of which is accepted, fit together.

        Raises:
            ConfigError: They do not.
        """


class Variants(Settings, abc.ABC):
    """Base of settings that are of one of several kinds, each kind a dataclass that derives from this one.

    Every kind has a field `TAG`, a `Literal` of the name that it is registered by.

    Attributes:
        TAG: The key that tells of which kind settings are.
        KINDS: The kinds by name.
    """

    TAG: ClassVar[str]
    KINDS: ClassVar[Registry[Any]]


def build(cls: type[T], settings: Mapping[str, Any], path: str = "config") -> T:
    """Builds the frozen dataclass `cls` (nested ones too) from `settings`.

    Args:
        cls: A dataclass type whose fields are scalars, tuples, optional values or other dataclasses; of several
            dataclasses that a field may be, the settings are of the one that knows most of their keys.
        settings: Values by field name; fields left out keep their defaults.
        path: How errors call the object, for example `config.model`.

    Raises:
        ConfigError: An unknown key, a missing one without default, or a value that is not accepted.
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
    """The plain, JSON-ready dict of a dataclass; `build` turns it back."""
    return dataclasses.asdict(config)


def field_types(cls: Any) -> dict[str, Any]:
    """The annotation of every field of a dataclass, by name, rules included."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def conform(hint: Any, value: Any, path: str) -> Any:
    """`value` as the annotated type.

    Ints may stand for floats, lists for tuples, mappings for dataclasses and NumPy's scalars for Python's; else the
    value must be of the type already.

    Args:
        hint: A type, with the rules that `Annotated` adds.
        value: What is given for it.
        path: How errors call it.

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
    """The classes that settings of a `Variants` may be of; none for any other type."""
    if not (isinstance(hint, type) and issubclass(hint, Variants)) or dataclasses.is_dataclass(hint):
        return []
    return [hint.KINDS.find(name) for name in hint.KINDS]


def described(hint: Any) -> str:
    """What a type accepts, in words: "a whole number, at least 1"."""
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
    """A value as errors show it, however long it is."""
    try:
        text = repr(value)
    except Exception:  # of whatever class it is; an int of too many digits, for one
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


# What may stand for a scalar type, and what it is called.
_SCALARS: dict[Any, tuple[type, ...]] = {
    bool: (bool, np.bool_),
    int: (int, np.integer),
    float: (float, int, np.floating, np.integer),
    str: (str,),
}
_WORDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a text", types.NoneType: "None"}


def _convert(scalar: type, value: Any, path: str) -> Any:
    """A value of an accepted type as the very type; floats must be finite."""
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
    """The class that knows most of the keys, so that a wrong key fails on it."""
    return max(classes, key=lambda cls: len(field_types(cls).keys() & settings.keys()))


def _conform_to_kind(hint: type[Variants], value: Any, path: str) -> Any:
    """Settings as those of their kind; where they do not name it, of the likeliest. A text is a kind's name."""
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
    """`value` as one of several types; where it fits none, the error is of the likeliest."""
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
    return ConfigError(f"{path} is {shown(value)}; it must be {expected}")
