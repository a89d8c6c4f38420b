"""Reads and changes configuration files: settings as plain dicts, and every fault of a file as one sentence."""

import dataclasses
import inspect
import os
import sys
import traceback
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ml_collections import ConfigDict

from smarttrim_jax.configs import FILES
from smarttrim_jax.configuration import shown, to_dict
from smarttrim_jax.errors import ConfigError, SmartTrimError, quoted

T = TypeVar("T")

_MODULE = "smarttrim_jax_config_file"


def locate(config: str) -> tuple[str, list[str]]:
    """Finds the file that a value of `--config` means.

    Args:
        config: Name of a configuration that comes with the library, or the path of a file; behind a ":", the argument
            of its `get_config`.

    Returns:
        The file's path, and a list that holds the argument or is empty.

    Raises:
        ConfigError: There is neither such a configuration nor such a file.
    """
    name, *argument = config.split(":", maxsplit=1)
    file = FILES.get(name, name)
    if not os.path.isfile(file):
        fault = "no file" if os.path.exists(file) else "missing"
        known = ", ".join(FILES)
        raise ConfigError(
            f"config file {quoted(file)} is {fault}; give a file's path, or one that comes with the library: {known}"
        )
    return file, argument


def load_settings(config: str) -> dict[str, Any]:
    """Reads the settings that a file's `get_config` returns.

    Args:
        config: Value of `--config`; see `locate`.

    Returns:
        Nested dicts of settings, as `configuration.build` takes them.

    Raises:
        ConfigError: The file is missing or faulty; an error in its code is reported with its line.
    """
    file, argument = locate(config)
    get_config = getattr(load_module(file), "get_config", None)
    if not callable(get_config):
        raise ConfigError(f"config file '{file}' has no function get_config")
    check_argument(file, get_config, argument)
    settings = run_in_file(file, lambda: _plain(get_config(*argument)))
    if not isinstance(settings, Mapping):
        raise ConfigError(
            f"get_config of '{file}' returns {shown(settings)}; it must return a ConfigDict, as in "
            "ConfigDict(to_dict(ExperimentConfig(...)))"
        )
    return dict(settings)


def load_module(file: str) -> types.ModuleType:
    """Runs a configuration file as a module.

    Args:
        file: Path of the file, from `locate`.

    Returns:
        The module.

    Raises:
        ConfigError: The file is faulty.
    """
    module = types.ModuleType(_MODULE)
    module.__file__ = file
    sys.modules[_MODULE] = module  # Dataclasses that the file defines look themselves up there.
    run_in_file(file, lambda: exec(compile(_source(file), file, "exec"), vars(module)))
    return module


def run_in_file(file: str, action: Callable[[], T]) -> T:
    """Calls code of a configuration file; its errors become sentences that name the line.

    Args:
        file: Path of the file.
        action: Function that calls code of the file.

    Returns:
        Result of the action.

    Raises:
        ConfigError: The file raised an exception that is not one of this library's errors, or ended the program.
    """
    try:
        return action()
    except SmartTrimError:
        raise
    except SyntaxError as error:
        place = f"'{error.filename or file}'" + (f", line {error.lineno}" if error.lineno else "")
        raise ConfigError(f"config file {place}: {error.msg}") from None
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
        place = f"'{file}'" + (f", line {lines[-1]}" if lines else "")
        reason = " ".join(str(error).split())
        raise ConfigError(f"config file {place}: {type(error).__name__}{': ' if reason else ''}{reason}") from error


def change(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Sets some keys of settings to other values; missing groups are created.

    Args:
        settings: Nested dicts of settings; they are not modified.
        changes: Values by dotted key.

    Returns:
        The changed settings.

    Raises:
        ConfigError: A key lies within a value that is not a group, or within a group that is set to None.
    """
    changed = _copied(settings)
    for key in sorted(changes, key=lambda key: key.count(".")):
        *groups, last = key.split(".")
        place = changed
        for depth, name in enumerate(groups, start=1):
            group = ".".join(groups[:depth])
            if changes.get(group, {}) is None:
                raise ConfigError(f"config.{group} is set to None, and config.{key} within it to a value; choose one")
            if place.get(name) is None:
                place[name] = {}
            place = place[name]
            if not isinstance(place, dict):
                raise ConfigError(f"config.{group} is {shown(place)}, no group of settings; it has no '{last}'")
        value = changes[key]
        place[last] = to_dict(value) if dataclasses.is_dataclass(value) else value
    return changed


def _source(file: str) -> bytes:
    with open(file, "rb") as source:
        return source.read()


def _copied(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in settings.items()}


def _plain(config: Any) -> Any:
    return config.to_dict() if isinstance(config, ConfigDict) else config


def check_argument(file: str, function: Callable[..., Any], argument: list[str]) -> None:
    """Checks that a function of a configuration file accepts the argument behind the file's name.

    Args:
        file: Path of the file, from `locate`.
        function: Its `get_config` or `sweep`.
        argument: The argument, or nothing.

    Raises:
        ConfigError: The function needs an argument that is not given, or takes none.
    """
    signature = run_in_file(file, lambda: inspect.signature(function))
    try:
        signature.bind(*argument)
    except TypeError:
        if argument:
            raise ConfigError(f"config file '{file}' takes no argument, but is given ':{argument[0]}'") from None
        raise ConfigError(f"config file '{file}' needs an argument, as in --config={file}:ARGUMENT") from None
