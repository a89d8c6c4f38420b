"""The runs of a sweep: what its config file yields, as commands whose configurations are known to be good."""

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from absl import flags
from etils import epath

from smarttrim_jax.command_line.config_file import change, load_module, load_settings, locate, run_in_file
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


def plan(config: str, root: str, launcher: list[str], program: list[str]) -> list[PlannedRun]:
    """The runs, none of which has been started.

    Args:
        config: Name or path of the config file, with its argument.
        root: Folder of the runs' folders.
        launcher: Words before the program's flags.
        program: More flags for the program.

    Raises:
        ConfigError: No such file, or a file without a `sweep` that can be used.
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
    """What the config file's `sweep` yields.

    Raises:
        ConfigError: The file fails, or it yields anything but settings.
    """
    module = load_module(path)
    if not hasattr(module, "sweep"):
        raise ConfigError(f"'{path}' has no function sweep() that yields what differs between the runs")
    if not hasattr(module, "get_config"):
        raise ConfigError(f"'{path}' has no function get_config() that returns the configuration")
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
    """A value as a flag takes it."""
    return str(tuple(value) if isinstance(value, list) else value)


def _folder_name(overrides: Overrides) -> str:
    """Settings as the name of a folder: cost.target_speedup=2.0,seed=1."""
    name = ",".join(f"{key}={value}" for key, value in overrides.items()) or "default"
    short = re.sub(r"[^A-Za-z0-9_.,=+-]", "_", name)
    if len(short) <= LONGEST_NAME:
        return short
    return f"{short[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def check_all(runs: list[PlannedRun], config: str, program: list[str], checks_all: bool) -> None:
    """Builds every configuration as the program would, before anything is run.

    Args:
        runs: From `plan`.
        config: Name or path of the config file, with its argument.
        program: Flags of the program after those of the sweep.
        checks_all: The program is the library's training, whose other flags are known too.

    Raises:
        ConfigError: All that is wrong, a line each.
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
        common = _problem(settings, {})  # what is wrong without sweep() too is not its fault
        raise ConfigError(common if list(problems) == [common] else "\nerror: ".join(lines))


def _problem(settings: Mapping[str, Any], overrides: Overrides) -> str:
    """What is wrong with settings of which some are replaced; empty if nothing."""
    try:
        build(ExperimentConfig, change(settings, overrides))
    except ConfigError as error:
        return str(error)
    return ""


def _given(program: list[str], checks_all: bool) -> dict[str, Any]:
    """The keys of the configuration that flags of the program set, and their values.

    Raises:
        ConfigError: A flag that cannot be read, or one that training does not have where that is the program.
    """
    from smarttrim_jax import train  # noqa: F401 (its flags)

    words = program if checks_all else [word for word in program if word.lstrip("-").startswith("config.")]
    flags.FLAGS.unparse_flags()
    parse(["sweep", *words], required=())
    return {key: flag.value for key, flag in KEYS.items() if flag.present}
