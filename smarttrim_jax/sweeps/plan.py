"""The runs of a sweep: the settings that its config file yields, as commands with checked configurations."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from absl import flags
from etils import epath

from smarttrim_jax.command_line.config_file import (
    change,
    check_argument,
    load_module,
    load_settings,
    locate,
    run_in_file,
)
from smarttrim_jax.command_line.experiment_flags import KEYS
from smarttrim_jax.command_line.parsing import parse
from smarttrim_jax.configuration import build
from smarttrim_jax.errors import ConfigError
from smarttrim_jax.experiment import ExperimentConfig
from smarttrim_jax.sweeps.table import DamagedFileError, read_json, read_report

# A folder's name has at most 255 bytes on most disks.
LONGEST_NAME = 200

Overrides = Mapping[str, Any]


class PlannedRun(NamedTuple):
    """One run of a sweep.

    Attributes:
        overrides: Values by dotted config key.
        folder: Folder of the run.
        launcher: Words of the command before the program's flags.
        flags: Flags of the program.
    """

    overrides: Overrides
    folder: epath.Path
    launcher: list[str]
    flags: list[str]

    @property
    def command(self) -> list[str]:
        """Words of the command that runs it."""
        return [*self.launcher, *self.flags]

    @property
    def record(self) -> epath.Path:
        """File that holds the flags with which the folder's report was made."""
        return self.folder / "flags.json"

    def finished(self) -> bool:
        """Tells whether the run has ended with exactly these flags."""
        try:
            return bool(read_report(self.folder)) and read_json(self.record) == self.flags
        except DamagedFileError:
            return False


def plan(config: str, root: str, launcher: list[str], program: list[str]) -> list[PlannedRun]:
    """Plans the runs; none is started.

    Args:
        config: Name or path of the config file, with its argument.
        root: Folder in which the runs' folders are.
        launcher: Words of the command before the program's flags.
        program: Further flags of the program.

    Returns:
        The runs, in the order that the file yields them.

    Raises:
        ConfigError: There is no such file, or it has no function `sweep` that can be used.
    """
    path, argument = locate(config)
    runs: dict[str, PlannedRun] = {}
    for overrides in _load_sweep(path, argument):
        name = _folder_name(overrides)
        if name in runs:
            raise ConfigError(f"sweep() of '{path}' yields {name} twice")
        folder = epath.Path(root).expanduser() / name
        changes = [f"--config.{key}={_flag_value(value)}" for key, value in overrides.items()]
        words = [f"--config={config}", f"--workdir={folder}", *changes, *program]
        runs[name] = PlannedRun(overrides, folder, launcher, words)
    if not runs:
        raise ConfigError(f"sweep() of '{path}' yields nothing")
    return list(runs.values())


def _load_sweep(path: str, argument: list[str]) -> list[Overrides]:
    """Reads the settings that the config file's `sweep` yields.

    Raises:
        ConfigError: The file fails, or yields something other than settings.
    """
    module = load_module(path)
    if not hasattr(module, "sweep"):
        raise ConfigError(f"'{path}' has no function sweep() that yields what differs between the runs")
    if not hasattr(module, "get_config"):
        raise ConfigError(f"'{path}' has no function get_config() that returns the configuration")
    check_argument(path, module.sweep, argument)
    yielded = run_in_file(path, lambda: list(module.sweep(*argument)))
    for overrides in yielded:
        if not isinstance(overrides, Mapping) or not all(isinstance(key, str) for key in overrides):
            raise ConfigError(f"sweep() of '{path}' yields {overrides!r}; it must yield dicts from key to value")
        for key, value in overrides.items():
            items = value if isinstance(value, list | tuple) else [value]
            if not all(item is None or isinstance(item, bool | int | float | str) for item in items):
                raise ConfigError(f"sweep() of '{path}' yields {value!r} for '{key}'; it must be a plain value")
    return yielded


def _flag_value(value: Any) -> str:
    """Formats a value as a flag takes it."""
    return str(tuple(value) if isinstance(value, list) else value)


def _folder_name(overrides: Overrides) -> str:
    """Formats settings as the name of a folder: cost.target_speedup=2.0,seed=1."""
    name = ",".join(f"{key}={value}" for key, value in overrides.items()) or "default"
    short = re.sub(r"[^A-Za-z0-9_.,=+-]", "_", name)
    if len(short) <= LONGEST_NAME:
        return short
    return f"{short[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def check_all(runs: list[PlannedRun], config: str, program: list[str], checks_all: bool) -> None:
    """Builds every configuration in the way the program would, before anything is run.

    Args:
        runs: Result of `plan`.
        config: Name or path of the config file, with its argument.
        program: Flags of the program after those of the sweep.
        checks_all: Whether the program is the library's training, whose other flags are checked too.

    Raises:
        ConfigError: Some configurations cannot be built; the message has one line per fault.
    """
    given = _given(program, checks_all)
    settings = change(load_settings(config), given)
    path, _ = locate(config)
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
        common = _problem(settings, {})  # A fault that exists without sweep() too is not sweep()'s.
        raise ConfigError(common if list(problems) == [common] else "\nerror: ".join(lines))


def _problem(settings: Mapping[str, Any], overrides: Overrides) -> str:
    """Describes what is wrong with settings after some are replaced; empty if nothing is."""
    try:
        build(ExperimentConfig, change(settings, overrides))
    except ConfigError as error:
        return str(error)
    return ""


def _given(program: list[str], checks_all: bool) -> dict[str, Any]:
    """Reads the configuration keys that flags of the program set, with their values.

    Raises:
        ConfigError: A flag cannot be read, or, where the program is training, training does not have it.
    """
    from smarttrim_jax import train  # noqa: F401 (its flags)

    words = program if checks_all else [word for word in program if word.lstrip("-").startswith("config.")]
    flags.FLAGS.unparse_flags()
    parse(["sweep", *words], required=())
    return {key: flag.value for key, flag in KEYS.items() if flag.present}
