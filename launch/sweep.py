"""Runs one training after another, each with other settings, and gathers their reports in one table.

    python launch/sweep.py --config=configs/easy_vqa.py:trim --root=runs/speedups -- --config.init_from=runs/finetune

The config file says what differs, by a function beside `get_config` that takes the same argument:

    def sweep(argument=""):
        for speedup in (1.5, 2.0, 3.0):
            yield {"cost.target_speedup": speedup}

Every run has a folder in --root, named after its settings. Everything after "--" goes to the program untouched. Runs
that are finished are not run again, stopped ones go on, failed ones do not keep the others from running. SIGTERM and
Ctrl-C are passed on to the run, which saves, and end the sweep. The table is shown and written to sweep.json and
sweep.md in --root; the exit status is 1 if a run failed.
"""

import argparse
import importlib.util
import itertools
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from etils import epath

from smarttrim_jax.configuration import build
from smarttrim_jax.errors import ConfigError, SmartTrimError
from smarttrim_jax.reporting.table import aligned
from smarttrim_jax.training.experiment import ExperimentConfig

Overrides = Mapping[str, Any]


class Run(NamedTuple):
    """One of the runs.

    Attributes:
        overrides: values by dotted config key.
        folder: where it is run.
        launcher: words before the program's flags.
        flags: of the program.
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

    def report(self) -> dict[str, Any] | None:
        """The final report; None if the run has not ended."""
        file = self.folder / "report.json"
        return json.loads(file.read_text()) if file.exists() else None

    def finished(self) -> bool:
        """Whether it has been run to its end with these very flags."""
        return bool(self.report()) and self.record.exists() and json.loads(self.record.read_text()) == self.flags


def main(arguments: list[str]) -> int:
    """Runs the command and returns its exit status."""
    ours, program = split(arguments)
    flags = parser().parse_args(ours)
    try:
        runs = plan(flags.config, flags.root, shlex.split(flags.launcher) or python(flags.module), program)
        if flags.print:
            print("\n".join(shlex.join(run.command) for run in runs))
            return 0
        return run_all(runs, epath.Path(flags.root))
    except SmartTrimError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """The command's own flags."""
    result = argparse.ArgumentParser("launch/sweep.py", description=__doc__, allow_abbrev=False)
    result.formatter_class = argparse.RawDescriptionHelpFormatter
    result.add_argument("--config", required=True, help="configs/NAME.py[:argument]")
    result.add_argument("--root", required=True, help="folder of the runs' folders, on a disk or on gs://")
    result.add_argument("--module", default="smarttrim_jax.train", help="what is run, by `python -m`")
    result.add_argument(
        "--launcher", default="", help='runs the program instead, e.g. "launch/local.sh --processes=2 --"'
    )
    result.add_argument("--print", "--dry-run", action="store_true", help="print the commands, one a line")
    return result


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments before and after "--"."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:end], arguments[end + 1 :]


def python(module: str) -> list[str]:
    """Runs a module by this interpreter."""
    return [sys.executable, "-m", module]


def plan(config: str, root: str, launcher: list[str], program: list[str]) -> list[Run]:
    """The runs, none of which has been started.

    Args:
        config: path of the config file, with its argument.
        root: folder of the runs' folders.
        launcher: words before the program's flags.
        program: more flags for the program.

    Raises:
        ConfigError: no such file, a file without `sweep`, or overrides that the configuration cannot take.
    """
    path, *argument = config.split(":", maxsplit=1)
    module = load(path)
    if not hasattr(module, "sweep"):
        raise ConfigError(f"'{path}' has no function sweep() that yields what differs between the runs")
    settings = module.get_config(*argument).to_dict()
    runs: dict[str, Run] = {}
    for overrides in module.sweep(*argument):
        check(settings, overrides, path)
        name = folder_name(overrides)
        if name in runs:
            raise ConfigError(f"sweep() of '{path}' yields {name} twice")
        folder = epath.Path(root).expanduser() / name
        changes = [f"--config.{key}={value}" for key, value in overrides.items()]
        flags = [f"--config={config}", f"--workdir={folder}", *changes, *program]
        runs[name] = Run(overrides, folder, launcher, flags)
    if not runs:
        raise ConfigError(f"sweep() of '{path}' yields nothing")
    return list(runs.values())


def load(path: str) -> types.ModuleType:
    """The config file as a module.

    Raises:
        ConfigError: there is no such file.
    """
    if not os.path.isfile(path):
        raise ConfigError(f"config file '{path}' is missing")
    spec = importlib.util.spec_from_file_location("sweep_config", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check(settings: Mapping[str, Any], overrides: Overrides, path: str) -> None:
    """Makes sure that the configuration takes the overrides, before anything is run.

    Raises:
        ConfigError: an unknown key, or a value that is wrong.
    """
    changed = json.loads(json.dumps(settings))
    for key, value in overrides.items():
        group = changed
        *groups, last = key.split(".")
        for name in groups:
            group = group.setdefault(name, {})
            if not isinstance(group, dict):
                raise ConfigError(f"sweep() of '{path}' yields '{key}', but '{name}' is no group of settings")
        group[last] = value
    try:
        build(ExperimentConfig, changed)
    except ConfigError as error:
        raise ConfigError(f"sweep() of '{path}' yields {dict(overrides)}: {error}") from None


def folder_name(overrides: Overrides) -> str:
    """Settings as the name of a folder: cost.target_speedup=2.0,seed=1."""
    name = ",".join(f"{key}={value}" for key, value in overrides.items()) or "default"
    return re.sub(r"[^\w.,=+-]", "_", name)


def run_all(runs: list[Run], root: epath.Path) -> int:
    """Runs what is not finished, writes and shows the table, and returns the exit status."""
    states = ["waiting"] * len(runs)
    stopped = 0
    for number, run in enumerate(runs):
        title = f"{run.folder.name} ({number + 1} of {len(runs)})"
        if run.finished():
            states[number] = "done"
            print(f"{title}: finished before", flush=True)
            continue
        if not stopped:
            print(f"{title}: {shlex.join(run.command)}", flush=True)
            status, stopped = execute(run)
            if status == 0 and run.report():
                states[number] = "done"
                run.record.write_text(json.dumps(run.flags, indent=1) + "\n")
            else:
                states[number] = f"status {status}"
                print(f"{title}: ended with status {status}", file=sys.stderr)
    write(runs, states, root)
    if stopped:
        return 128 + stopped
    return int(states != ["done"] * len(runs))


def execute(run: Run) -> tuple[int, int]:
    """Runs it to its end.

    Returns:
        Its exit status, and the signal that asked the sweep to stop, or 0.
    """
    received = 0
    # A process group of its own: what the terminal sends comes here alone, and is passed on once.
    process = subprocess.Popen(run.command, process_group=0)

    def forward(number: int, frame: types.FrameType | None) -> None:
        nonlocal received
        received = number
        process.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return (128 - code if code < 0 else code), received


def write(runs: list[Run], states: list[str], root: epath.Path) -> None:
    """Shows the table, and saves it as sweep.json and sweep.md."""
    keys = list(dict.fromkeys(itertools.chain.from_iterable(run.overrides for run in runs)))
    reports = [run.report() if state == "done" else None for run, state in zip(runs, states, strict=True)]
    rows = [[*keys, "full", "trimmed", "asked", "MACs", "state"]]
    rows += [
        [*(str(run.overrides.get(key, "")) for key in keys), *figures(report or {}), state]
        for run, report, state in zip(runs, reports, states, strict=True)
    ]
    print("\n" + "\n".join(aligned(rows)), flush=True)
    entries = [
        {"overrides": dict(run.overrides), "folder": str(run.folder), "state": state, "report": report}
        for run, report, state in zip(runs, reports, states, strict=True)
    ]
    root.mkdir(parents=True, exist_ok=True)
    (root / "sweep.json").write_text(json.dumps(entries, indent=1) + "\n")
    (root / "sweep.md").write_text("\n".join(markdown(rows)) + "\n")


def figures(report: Mapping[str, Any]) -> Iterator[str]:
    """Accuracy of both passes, speed-up asked for and reached; empty where there is none."""
    for name in ("full", "trimmed"):
        value = report.get("accuracy", {}).get(name)
        yield "" if value is None else f"{100 * value:.2f} %"
    for name in ("asked", "macs"):
        value = report.get("speedup", {}).get(name)
        yield "" if value is None else f"{value:.2f}x"


def markdown(rows: list[list[str]]) -> list[str]:
    """Rows of cells as lines of a Markdown table, the first as its head."""
    head, *body = rows
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
