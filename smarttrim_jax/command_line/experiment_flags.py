"""The flag `--config`, and one for every key of the configuration that it names: `--config.data.batch_size=64`."""

import dataclasses
import inspect
import re
import shlex
import typing
from collections.abc import Iterator
from typing import Any

from absl import flags

from smarttrim_jax.command_line.config_file import change, load_settings
from smarttrim_jax.command_line.running import AFTER_PLUGINS
from smarttrim_jax.command_line.typed_flags import define
from smarttrim_jax.configs import FILES
from smarttrim_jax.configuration import build, described, field_types, kinds, to_dict
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.registry import import_implementation


def opened_experiment() -> ExperimentConfig:
    """Builds the configuration of the file that `--config` names, with the keys that flags set.

    Returns:
        The run configuration.

    Raises:
        ConfigError: The file or a value cannot be used, or an implementation that it names cannot be imported.
    """
    if CONFIG.value is None:
        raise ConfigError(f"--config is missing; give a file, or a name among {', '.join(FILES)}")
    changes = {key: flag.value for key, flag in KEYS.items() if flag.present}
    config = build(ExperimentConfig, change(load_settings(CONFIG.value), changes))
    # These names come from the user's own file or flags. Names in a run's folder are never imported.
    for name in (config.data.dataset, *config.evaluation.metrics, *config.schedule.writers):
        import_implementation(name)
    return config


def explained_keys() -> Iterator[str]:
    """Yields lines for the page of `--help`: every key of the configuration, with its value and meaning."""
    if CONFIG.value is None:
        yield "Every key of a configuration is a flag, --config.KEY=VALUE; --config=FILE --help explains them all."
        return
    yield f"Keys of {CONFIG.value}, each a flag:"
    yield ""
    yield from _explained(opened_experiment(), "config")


def meanings(cls: type) -> dict[str, str]:
    """Reads what the docstring of a configuration class says about its fields.

    Args:
        cls: Class derived from `Settings`.

    Returns:
        Text of each entry of its `Attributes:` section, by field.
    """
    text = inspect.getdoc(cls) or ""
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, flags=re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in found}


def groups(hint: Any) -> list[type]:
    """Lists the configuration classes that a field may hold.

    Args:
        hint: Annotation of the field.

    Returns:
        Dataclasses among its types; empty for a field with plain values.
    """
    options = [kind for option in (hint, *typing.get_args(hint)) for kind in (kinds(option) or [option])]
    return [option for option in options if isinstance(option, type) and dataclasses.is_dataclass(option)]


def _keys(cls: type, prefix: str = "") -> dict[str, tuple[Any, str]]:
    """Type and meaning of every key, groups included; where a group may be of several classes, the keys of all."""
    keys: dict[str, tuple[Any, str]] = {}
    for name, hint in field_types(cls).items():
        key = prefix + name
        keys[key] = (hint, meanings(cls).get(name, ""))
        is_list = typing.get_origin(hint) is tuple
        for group in [] if is_list else groups(hint):
            for inner, (kind, meaning) in _keys(group, f"{key}.").items():
                known, _ = keys.get(inner, (kind, meaning))
                keys[inner] = (typing.Union[known, kind], meaning)  # noqa: UP007 of what is only known here
    return keys


def _explained(config: Any, path: str) -> Iterator[str]:
    hints, meaning = field_types(type(config)), meanings(type(config))
    for name, hint in hints.items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            yield from _explained(value, f"{path}.{name}")
            continue
        yield f"  --{path}.{name}={shlex.quote(_as_text(value))}"
        yield f"      {meaning.get(name, '')} Takes {described(hint)}."


def _as_text(value: Any) -> str:
    """Formats a value as its flag takes it."""
    if isinstance(value, tuple):
        return str([to_dict(item) if dataclasses.is_dataclass(item) else item for item in value])
    return str(value)


CONFIG = define(
    "config",
    str,
    None,
    f"Configuration, as in easy_vqa:quick: a file's path or a name among {', '.join(FILES)}; behind the colon its "
    "argument.",
)
KEYS: dict[str, flags.FlagHolder[Any]] = {}


def _define_keys() -> None:
    """Defines a flag for every key that has none yet."""
    for key, (hint, meaning) in _keys(ExperimentConfig).items():
        if key not in KEYS:
            KEYS[key] = define(f"config.{key}", hint, None, meaning)


_define_keys()
AFTER_PLUGINS.append(_define_keys)
