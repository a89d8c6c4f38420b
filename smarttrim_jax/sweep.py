r"""Runs a training for each of several settings, and gathers their reports in one table.

    python -m smarttrim_jax.sweep --config=configs/easy_vqa.py:trim --root=runs/speedups \
        -- --config.init_from=runs/finetune

The config file says what differs, by a function beside `get_config` that takes the same argument:

    def sweep(argument=""):
        for speedup in (1.5, 2.0, 3.0):
            yield {"cost.target_speedup": speedup}

Every run has a folder in --root, named after its settings. Everything after "--" goes to the program untouched. All
configurations are built before the first run starts. Runs that are finished are not run again, stopped ones go on,
failed ones do not keep the others from running. SIGTERM and Ctrl-C are passed on to the runs, which save, and end the
sweep. The table is shown and written to sweep.json and sweep.md in --root; the exit status is 1 if a run failed.

Several at once, on this machine or as the tasks of a job array, whose table is gathered afterwards:

    python -m smarttrim_jax.sweep --parallel=4 --devices=0,1,2,3 ...
    sbatch --array=0-2 --wrap='python -m smarttrim_jax.sweep --index=$SLURM_ARRAY_TASK_ID ...'
    python -m smarttrim_jax.sweep --gather --csv=speedups.csv ...

Runs that differ in `seed` alone are also shown as their mean and standard deviation. --time=64 times the models when
all runs have ended, one after another so that they do not disturb each other, on batches of so many test examples.
--output=FILE.json writes the figures of all runs with the machine, the commits and the commands they come from, and
--plot=FILE.svg draws the score against the speed-up.
"""

import argparse
import concurrent.futures
import json
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence

from etils import epath

from smarttrim_jax.benchmarking.origin import check_figures, origin, trained_by, write_figures
from smarttrim_jax.command_line.running import find_modules_here, import_plugins
from smarttrim_jax.errors import ConfigError, SmartTrimError
from smarttrim_jax.small_files import check_access
from smarttrim_jax.sweeps.execution import Execution, slots
from smarttrim_jax.sweeps.plan import PlannedRun, check_all, plan
from smarttrim_jax.sweeps.plot import check_plot, write_plot
from smarttrim_jax.sweeps.table import (
    DONE,
    SPEED,
    Entry,
    check_file,
    figure_rows,
    lines_of,
    look_at,
    write_csv,
    write_tables,
    write_whole,
)

TRAIN = "smarttrim_jax.train"
BENCHMARK = "smarttrim_jax.benchmark"


def main(arguments: list[str]) -> int:
    """Runs the command.

    Args:
        arguments: The command line's words behind the command's name.

    Returns:
        The exit status: 0 if every run is done, 1 if one failed or something is wrong, a run's own for --index.
    """
    ours, program = _split(arguments)
    flags = _parser().parse_args(ours)
    try:
        import_plugins(program)  # what the config file names may be theirs
        if flags.plot:
            check_plot(flags.plot)
        root = _root_folder(flags.root, flags.gather)
        launcher = shlex.split(flags.launcher) or [sys.executable, "-m", flags.module]
        runs = plan(flags.config, flags.root, launcher, program)
        if not flags.print:
            _check_files(flags)
        if flags.gather:
            return _gather(runs, root, flags)
        if flags.time is not None and not flags.time > 0:
            raise ConfigError(f"--time is {flags.time}; it is a number of examples, at least 1")
        checks_all = not flags.launcher and flags.module == TRAIN
        check_all(runs, flags.config, program, checks_all)
        if flags.print:
            print("\n".join(shlex.join(run.command) for run in runs))
            return 0
        if flags.index is not None:
            return _run_one(runs, flags.index)
        return _run_all(runs, root, slots(flags.parallel, flags.devices), flags)
    except SmartTrimError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    """The command's own flags."""
    result = argparse.ArgumentParser("smarttrim_jax.sweep", description=__doc__, allow_abbrev=False)
    result.formatter_class = argparse.RawDescriptionHelpFormatter
    result.add_argument("--config", required=True, help="a file or a packaged name, with its argument: easy_vqa:trim")
    result.add_argument("--root", required=True, help="folder of the runs' folders, on a disk or on gs://")
    result.add_argument("--module", default=TRAIN, help="what is run, by `python -m`")
    result.add_argument(
        "--launcher", default="", help='runs the program instead, e.g. "launch/local.sh --processes=2 --"'
    )
    result.add_argument("--csv", help="a file that takes the table too")
    result.add_argument("--output", help="a file that takes all figures and where they come from, as JSON")
    result.add_argument("--plot", help="an SVG file that takes the score against the speed-up (extra `plot`)")
    result.add_argument("--time", type=int, help="when all runs have ended, time their models on batches of so many")
    which = result.add_mutually_exclusive_group()
    which.add_argument("--index", type=int, help="run this one alone, counted from 0, and write no table")
    which.add_argument("--gather", action="store_true", help="run nothing: only gather what there is")
    which.add_argument("--parallel", type=int, default=1, help="how many run at once; their output goes into files")
    which.add_argument("--print", "--dry-run", action="store_true", help="print the commands, one a line")
    result.add_argument("--devices", help="GPUs that --parallel shares out, by CUDA_VISIBLE_DEVICES: 0,1,2,3")
    return result


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The arguments before and after "--"."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:end], arguments[end + 1 :]


def _root_folder(root: str, is_read: bool) -> epath.Path:
    """The folder that the runs' folders are in.

    Raises:
        ConfigError: It has no name, or it is not there and its runs are only gathered.
    """
    if not root:
        raise ConfigError("--root is empty; name the folder that the runs' folders are in")
    check_access(root)
    folder = epath.Path(root).expanduser()
    if is_read and not folder.is_dir():
        raise ConfigError(f"--root={root} is no folder; --gather reads what a sweep with the same --root left there")
    return folder


def _check_files(flags: argparse.Namespace) -> None:
    """Checks that all files the flags ask for can be written.

    Raises:
        SmartTrimError: One of them cannot.
    """
    for file in filter(None, (flags.csv, flags.plot)):
        check_file(epath.Path(file).expanduser())
    if flags.output:
        check_figures(flags.output)


def _run_one(runs: list[PlannedRun], index: int) -> int:
    """Runs one alone, beside others that may run at the same time, and returns the exit status."""
    if not 0 <= index < len(runs):
        raise ConfigError(f"--index is {index}; this sweep has {len(runs)} runs, 0 to {len(runs) - 1}")
    with Execution([{}]) as execution:
        entry, status = _attempt(runs[index], f"{index + 1} of {len(runs)}", execution, log=None)
    return execution.stopped or status or int(entry.state != DONE)


def _run_all(
    runs: list[PlannedRun], root: epath.Path, places: Sequence[Mapping[str, str]], flags: argparse.Namespace
) -> int:
    """Runs what is not finished, times it where asked, shows and writes the table; returns the exit status."""
    logs = _log_folder(root) if len(places) > 1 else None

    def work(number: int) -> Entry:
        log = None if logs is None else logs / f"{runs[number].folder.name}.log"
        return _attempt(runs[number], f"{number + 1} of {len(runs)}", execution, log)[0]

    with Execution(places) as execution, concurrent.futures.ThreadPoolExecutor(len(places)) as pool:
        entries = list(pool.map(work, range(len(runs))))
        if flags.time is not None:
            entries = [_timed(entry, flags.time, execution) for entry in entries]
    _show(entries, root, flags)
    return execution.stopped or int(any(entry.state != DONE for entry in entries))


def _log_folder(root: epath.Path) -> epath.Path:
    """Where the output of runs at the same time goes: beside their folders, or on this disk for those in a bucket."""
    folder = epath.Path(tempfile.mkdtemp(prefix="smarttrim-sweep-")) if "://" in str(root) else root
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot write to --root={root}: {error.strerror or error}") from None
    return folder


def _attempt(run: PlannedRun, number: str, execution: Execution, log: epath.Path | None) -> tuple[Entry, int]:
    """Runs one to its end unless that has been done, and returns what came of it and its exit status."""
    title = f"{run.folder.name} ({number})"
    if run.finished():
        print(f"{title}: finished before", flush=True)
        return look_at(run.overrides, run.folder), 0
    if execution.stopped:
        return Entry(run.overrides, run.folder, "waiting"), 0
    print(f"{title}: {shlex.join(run.command)}{f' >{log}' if log else ''}", flush=True)
    (run.folder / SPEED).unlink(missing_ok=True)  # it is of the model that is about to be replaced
    status = execution.execute(run.command, log)
    if status:
        print(f"{title}: ended with status {status}{f'; see {log}' if log else ''}", file=sys.stderr, flush=True)
        return Entry(run.overrides, run.folder, f"status {status}"), status
    entry = look_at(run.overrides, run.folder)
    if entry.state == DONE:
        write_whole(run.record, json.dumps(run.flags, indent=1) + "\n")
    return entry, 0


def _timed(entry: Entry, batch_size: int, execution: Execution) -> Entry:
    """Times the model of a run that is done and was not timed before; returns the run with what was measured."""
    if entry.state != DONE or execution.stopped or (entry.folder / SPEED).exists():
        return entry
    words = [f"--workdir={entry.folder}", "--split=test", f"--batch_sizes={batch_size}"]
    command = [sys.executable, "-m", BENCHMARK, *words, f"--output={entry.folder / SPEED}"]
    print(f"{entry.folder.name}: {shlex.join(command)}", flush=True)
    status = execution.execute(command, None)
    if status:
        print(f"{entry.folder.name}: its model cannot be timed (status {status})", file=sys.stderr, flush=True)
    return look_at(entry.overrides, entry.folder)


def _gather(runs: list[PlannedRun], root: epath.Path, flags: argparse.Namespace) -> int:
    """Shows and writes the table of whatever is there, names what is missing, and returns the exit status."""
    entries = [look_at(run.overrides, run.folder) for run in runs]
    missing = [f"{number} {entry.folder.name}" for number, entry in enumerate(entries) if entry.state != DONE]
    if missing:
        print(f"{len(missing)} of {len(runs)} are not done: {'; '.join(missing)}", file=sys.stderr)
    _show(entries, root, flags)
    return int(bool(missing))


def _show(entries: list[Entry], root: epath.Path, flags: argparse.Namespace) -> None:
    """Shows the table and writes it wherever the flags ask for it."""
    print("\n" + "\n".join(lines_of(entries)), flush=True)
    write_tables(entries, root)
    if flags.csv:
        write_csv(entries, epath.Path(flags.csv).expanduser())
    if flags.output:
        trained = {"trained_by": trained_by(*(str(entry.folder) for entry in entries))}
        figures = origin("python -m smarttrim_jax.sweep") | trained | {"results": figure_rows(entries)}
        write_figures(flags.output, figures)
    if flags.plot:
        write_plot(entries, epath.Path(flags.plot).expanduser())


def run() -> None:
    """Runs the command of this process's arguments, and ends the process."""
    find_modules_here(__name__)
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
