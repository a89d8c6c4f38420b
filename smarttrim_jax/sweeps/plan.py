"""The runs of a sweep: what its config file yields, as commands whose configurations are known to be good."""

import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from absl import flags as absl_flags
from etils import epath
from ml_collections import config_flags

from smarttrim_jax import command_line
from smarttrim_jax.configuration import build
from smarttrim_jax.errors import ConfigError, SmartTrimError
from smarttrim_jax.sweeps.table import DamagedFileError, read_json, read_report
from smarttrim_jax.training.experiment import ExperimentConfig

# A folder's name has at most 255 bytes on most disks.
LONGEST_NAME = 200

Overrides = Mapping[str, Any]


class Run(NamedTuple):
    """One of the runs.

    Attributes:
        overrides: Values by dotted config key.
        folder: Where it is run.
        launcher: Words before the program's flags.
        flags: Of the program.
    """

    overrides: Overrides
    folder: epath.Path
    launcher: list[str]
    flags: list[str]

    @property
    def command(self) -> list[str]:
        """What runs it, as words."""
        return [*self.launcher, *self.flags]

    @property
    def record(self) -> epath.Path:
        """The file that holds the flags that the folder's report is of."""
        return self.folder / "flags.json"

    def finished(self) -> bool:
        """Whether it has been run to its end with these very flags."""
        try:
            return bool(read_report(self.folder)) and read_json(self.record) == self.flags
        except DamagedFileError:
            return False


def plan(config: str, root: str, launcher: list[str], program: list[str]) -> list[Run]:
    """The runs, none of which has been started.

    Args:
        config: Path of the config file, with its argument.
        root: Folder of the runs' folders.
        launcher: Words before the program's flags.
        program: More flags for the program.

    Raises:
        ConfigError: No such file, or a file without a `sweep` that can be used.
    """
    path, *argument = config.split(":", maxsplit=1)
    runs: dict[str, Run] = {}
    for overrides in _load_sweep(path, argument):
        name = _folder_name(overrides)
        if name in runs:
            raise ConfigError(f"sweep() of '{path}' yields {name} twice")
        folder = epath.Path(root).expanduser() / name
        changes = [f"--config.{key}={_flag_value(value)}" for key, value in overrides.items()]
        flags = [f"--config={config}", f"--workdir={folder}", *changes, *program]
        runs[name] = Run(overrides, folder, launcher, flags)
    if not runs:
        raise ConfigError(f"sweep() of '{path}' yields nothing")
    return list(runs.values())


def _load_sweep(path: str, argument: list[str]) -> list[Overrides]:
    """What the config file's `sweep` yields.

    Raises:
        ConfigError: There is no such file, it fails, or it yields anything but settings.
    """
    if not os.path.isfile(path):
        raise ConfigError(f"config file '{path}' is missing")
    spec = importlib.util.spec_from_file_location("sweep_config", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"config file '{path}' is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        found = module.sweep(*argument) if hasattr(module, "sweep") else None
        yielded = None if found is None else list(found)
    except SmartTrimError:
        raise
    except Exception as error:  # a config file is a program of the user's
        raise ConfigError(f"config file '{path}' fails: {type(error).__name__}: {_first_line(error)}") from error
    if yielded is None:
        raise ConfigError(f"'{path}' has no function sweep() that yields what differs between the runs")
    if not hasattr(module, "get_config"):
        raise ConfigError(f"'{path}' has no function get_config() that returns the configuration")
    for overrides in yielded:
        if not isinstance(overrides, Mapping) or not all(isinstance(key, str) for key in overrides):
            raise ConfigError(f"sweep() of '{path}' yields {overrides!r}; it must yield dicts from key to value")
        for key, value in overrides.items():
            items = value if isinstance(value, list | tuple) else [value]
            if not all(item is None or isinstance(item, bool | int | float | str) for item in items):
                raise ConfigError(f"sweep() of '{path}' yields {value!r} for '{key}'; it must be a plain value")
    return yielded


def _first_line(error: Exception) -> str:
    """What an error says, in short."""
    return (str(error).splitlines() or ["no message"])[0]


def _flag_value(value: Any) -> str:
    """A value as a flag takes it."""
    return str(tuple(value) if isinstance(value, list) else value)


def _folder_name(overrides: Overrides) -> str:
    """Settings as the name of a folder: cost.target_speedup=2.0,seed=1."""
    name = ",".join(f"{key}={value}" for key, value in overrides.items()) or "default"
    short = re.sub(r"[^A-Za-z0-9_.,=+-]", "_", name)
    if len(short) <= LONGEST_NAME:
        return short
    return f"{short[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def check_all(runs: list[Run], config: str, program: list[str], checks_all: bool) -> None:
    """Builds every configuration as the program would, before anything is run.

    Args:
        runs: From `plan`.
        config: Path of the config file, with its argument.
        program: Flags of the program after those of the sweep.
        checks_all: The program is the library's training, whose other flags are known too.

    Raises:
        ConfigError: All that is wrong, a line each.
    """
    settings, given = _read_settings([f"--config={config}", *program], checks_all)
    path = config.split(":", maxsplit=1)[0]
    problems: dict[str, list[Overrides]] = {}
    for run in runs:
        changes = {key: value for key, value in run.overrides.items() if key not in given}
        problem = _problem(settings, changes)
        if problem:
            problems.setdefault(problem, []).append(run.overrides)
    lines = []
    for problem, (first, *others) in problems.items():
        more = f" and {len(others)} more like it" if others else ""
        lines.append(f"sweep() of '{path}' yields {dict(first)}{more}: {problem}")
    if lines:
        common = _problem(settings, {})  # what is wrong without sweep() too is not its fault
        raise ConfigError(common if list(problems) == [common] else "\nerror: ".join(lines))


def _problem(settings: Mapping[str, Any], overrides: Overrides) -> str:
    """What is wrong with settings of which some are replaced; empty if nothing."""
    try:
        build(ExperimentConfig, _changed(settings, overrides))
    except ConfigError as error:
        return str(error)
    return ""


def _read_settings(arguments: list[str], checks_all: bool) -> tuple[dict[str, Any], set[str]]:
    """The settings of a config file and flags, and the keys that flags gave.

    Raises:
        ConfigError: A flag or key that cannot be read.
    """
    words = ["sweep", *arguments]
    path = arguments[0].removeprefix("--config=")
    values = absl_flags.FlagValues()
    config_flags.DEFINE_config_file("config", lock_config=True, flag_values=values, sys_argv=words)
    if checks_all:
        absl_flags.DEFINE_string("workdir", None, "Of the run.", flag_values=values)
        for flag in absl_flags.FLAGS.flags_by_module_dict()[command_line.__name__]:
            values[flag.name] = flag
    try:
        rest = command_line.parse_flags(values, words, known_only=not checks_all)
        settings = values.config.to_dict()
    except SmartTrimError:
        raise
    except Exception as error:  # a config file is a program of the user's
        raise ConfigError(f"config file '{path}' fails: {type(error).__name__}: {_first_line(error)}") from error
    if checks_all and rest[1:]:
        raise ConfigError(f"unexpected argument '{rest[1]}' after '--'; flags begin with '--'")
    return settings, set(config_flags.get_override_values(values["config"]))


def _changed(settings: Mapping[str, Any], overrides: Overrides) -> dict[str, Any]:
    """Settings with some values replaced.

    Raises:
        ConfigError: A key that goes through something that is no group of settings.
    """
    result = json.loads(json.dumps(settings))
    for key, value in overrides.items():
        group = result
        *groups, last = key.split(".")
        for name in groups:
            group = group.setdefault(name, {})
            if not isinstance(group, dict):
                raise ConfigError(f"'{key}' cannot be set: '{name}' is no group of settings")
        group[last] = value
    return result
