"""Results of a sweep's runs as a table: for a terminal, as JSON, Markdown and CSV."""

import csv
import dataclasses
import io
import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from etils import epath

from smarttrim_jax import small_files
from smarttrim_jax.errors import TrainingError
from smarttrim_jax.json_text import parse_json
from smarttrim_jax.reporting.tables import aligned, shown_score
from smarttrim_jax.training.older_runs import report_of_today

DONE = "done"
SEED = "seed"
PASSES = ("full", "trimmed")
SPEED = "speed.json"
"""The file of a run's folder that holds what its model was timed at."""


class Figure(NamedTuple):
    """A column of figures.

    Attributes:
        head: Heading of the column.
        csv_head: Heading of the column in a CSV file.
        key: Key of the figure in a row of a file of figures.
        path: Keys that lead to the figure in a report.
        show: Formats the figure for a table.
    """

    head: str
    csv_head: str
    key: str
    path: tuple[str, ...]
    show: Callable[[float | None], str]


def _times(value: float | None) -> str:
    return f"{value:.2f}x"


SPEED_UPS = (
    Figure("asked", "speedup_asked", "asked", ("speedup", "asked"), _times),
    Figure("MACs", "speedup_macs", "macs_speedup", ("speedup", "macs"), _times),
)
TIME = Figure("time", "speedup_time", "realised_speedup", ("speedup", "time"), _times)


class DamagedFileError(ValueError):
    """A file of a run exists and does not hold what it should; the message is a sentence about it."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One run of a sweep.

    Attributes:
        overrides: Settings of the run, by dotted config key.
        folder: Folder of the run.
        state: "done", or how far the run is.
        report: Final report; None unless the run is done.
    """

    overrides: Mapping[str, Any]
    folder: epath.Path
    state: str
    report: Mapping[str, Any] | None = None


def look_at(overrides: Mapping[str, Any], folder: epath.Path) -> Entry:
    """Finds out how far a run is; damaged files are reported in the state and raise nothing.

    Args:
        overrides: Settings of the run, by dotted config key.
        folder: Folder of the run.

    Returns:
        The run with its state and report.
    """
    try:
        report = read_report(folder)
        state = DONE if report is not None else _progress(folder)
        if report is not None and (saved := time_saved(folder)):
            report = {**report, "speedup": {**report.get("speedup", {}), "time": saved}}
    except DamagedFileError as error:
        return Entry(overrides, folder, str(error))
    return Entry(overrides, folder, state, report)


def read_report(folder: epath.Path) -> Mapping[str, Any] | None:
    """Reads a run's final report.

    Args:
        folder: Folder of the run.

    Returns:
        The report; None if the run has not ended.

    Raises:
        DamagedFileError: There is a report that cannot be used.
    """
    report = read_json(folder / "report.json")
    if report is None:
        return None
    if not isinstance(report, dict):
        raise DamagedFileError("report.json is damaged (no group of figures)")
    report = report_of_today(report)
    for figure in (*_scores([report]), *SPEED_UPS):
        value_of(report, figure)
    return report


def time_saved(folder: epath.Path) -> float | None:
    """Reads how much faster a run's model is when it trims, by its fastest execution.

    Args:
        folder: Folder of the run, whose `SPEED` holds what `smarttrim_jax.benchmark` measured.

    Returns:
        The speed-up in time against the faster of full and padded execution; None if nothing was measured.

    Raises:
        DamagedFileError: There is a file that cannot be used.
    """
    content = read_json(folder / SPEED)
    if content is None:
        return None
    try:
        return max(float(row["speedup"]) for row in content["results"] if row["execution"] not in ("full", "padded"))
    except (LookupError, TypeError, ValueError) as error:
        raise DamagedFileError(f"{SPEED} is damaged ({type(error).__name__} {error})") from None


def read_json(file: epath.Path) -> Any:
    """Reads a JSON file.

    Args:
        file: Path of the file.

    Returns:
        The content; None if there is no such file.

    Raises:
        DamagedFileError: The file cannot be read, or holds null.
    """
    try:
        if not file.exists():
            return None
        content = parse_json(file.read_text())
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DamagedFileError(f"{file.name} is damaged ({reason[:100]})") from None
    if content is None:
        raise DamagedFileError(f"{file.name} is damaged (it holds nothing)")
    return content


def write_whole(file: epath.Path, text: str) -> None:
    """Writes a file completely or not at all, safely beside other processes that do the same.

    Args:
        file: Path of the file; its folder is created if missing.
        text: New content.

    Raises:
        TrainingError: The file cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        small_files.write_whole(file, text)
    except OSError as error:
        raise _unwritable(file, error) from None


def check_file(file: epath.Path) -> None:
    """Checks before anything runs that `write_whole` can write a file; creates its folder.

    Args:
        file: Path of the file.

    Raises:
        ConfigError: It is in a bucket, and the package that accesses buckets is not installed.
        TrainingError: The file cannot be written.
    """
    small_files.check_access(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        small_files.check_writable(file)
    except OSError as error:
        raise _unwritable(file, error) from None


def lines_of(entries: Sequence[Entry]) -> list[str]:
    """Formats the table for a terminal.

    Args:
        entries: The runs.

    Returns:
        Lines of the table, the heading first.
    """
    means = _means(entries)
    return [*aligned(_shown(entries)), *(["", *aligned(means)] if means else [])]


def write_tables(entries: Sequence[Entry], root: epath.Path) -> None:
    """Writes sweep.json and sweep.md, which also has the means over seeds.

    Args:
        entries: The runs.
        root: Folder in which the runs' folders are.

    Raises:
        TrainingError: The files cannot be written.
    """
    content = [dataclasses.asdict(entry) | {"folder": str(entry.folder)} for entry in entries]
    write_whole(root / "sweep.json", json.dumps(content, indent=1) + "\n")
    tables = [_in_markdown(table) for table in (_shown(entries), _means(entries)) if table]
    write_whole(root / "sweep.md", "\n".join(tables))


def write_csv(entries: Sequence[Entry], file: epath.Path) -> None:
    """Writes the table as CSV with plain numbers, for other programs.

    Args:
        entries: The runs.
        file: File to write.

    Raises:
        TrainingError: The file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys, figures = _keys(entries), columns(entries)
    writer.writerow([*keys, *(figure.csv_head for figure in figures), "state", "folder"])
    for entry in entries:
        values = [value_of(entry.report or {}, figure) for figure in figures]
        settings = [entry.overrides.get(key, "") for key in keys]
        writer.writerow([*settings, *("" if each is None else each for each in values), entry.state, entry.folder])
    write_whole(file, text.getvalue())


def figure_rows(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Lists the figures of all runs that are done, for a file of figures.

    Args:
        entries: The runs.

    Returns:
        A row for each run: its settings by the last words of their keys, metrics trimmed under their own names and at
        full capacity with `full_` before them, `asked`, `macs_speedup` and, where its model was timed,
        `realised_speedup`.
    """
    figures, rows = columns(entries), []
    for entry in entries:
        if entry.report is not None:
            found = {figure.key: value_of(entry.report, figure) for figure in figures}
            settings = {key.rpartition(".")[2]: value for key, value in entry.overrides.items()}
            rows.append(settings | {name: value for name, value in found.items() if value is not None})
    return rows


def _keys(entries: Sequence[Entry]) -> list[str]:
    """Keys in which the runs differ, in the order of their first appearance."""
    return list(dict.fromkeys(key for entry in entries for key in entry.overrides))


def columns(entries: Sequence[Entry]) -> list[Figure]:
    """Finds the figures that the runs report.

    Args:
        entries: The runs.

    Returns:
        Columns of figures, those of the primary metric first, at full capacity and trimmed; that of times only where
        any were measured.

    Raises:
        DamagedFileError: The metrics of a report are not a group of figures.
    """
    reports = [entry.report for entry in entries if entry.report is not None]
    times = [TIME] if any("time" in _group(report, ("speedup",)) for report in reports) else []
    return [*_scores(reports), *SPEED_UPS, *times]


def _scores(reports: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Columns for every metric in any of the reports, those that are primary in one of them first.

    Raises:
        DamagedFileError: The metrics of a report are not a group of figures.
    """
    names: dict[str, bool] = {}
    for report in reports:
        for which in PASSES:
            for name in _group(report, ("metrics", which)):
                names[name] = names.get(name, False) or name == report.get("primary")
    return [
        Figure(
            f"{which} {name}",
            f"{name}_{which}",
            f"full_{name}" if which == "full" else name,
            ("metrics", which, name),
            shown_score,
        )
        for name in sorted(names, key=lambda name: not names[name])
        for which in PASSES
    ]


def _shown(entries: Sequence[Entry]) -> list[list[str]]:
    """Rows of formatted cells, the first as their heading."""
    keys, figures = _keys(entries), columns(entries)
    rows = [[*keys, *(figure.head for figure in figures), "state"]]
    for entry in entries:
        values = [(value_of(entry.report or {}, figure), figure.show) for figure in figures]
        cells = ["" if value is None else show(value) for value, show in values]
        rows.append([*(str(entry.overrides.get(key, "")) for key in keys), *cells, entry.state])
    return rows


def _means(entries: Sequence[Entry]) -> list[list[str]]:
    """Rows of formatted cells: means over the runs that differ in their seed alone, and standard deviations.

    There are no rows, not even a heading, where no two such runs are done.
    """
    groups, figures = over_seeds(entries), columns(entries)
    if all(len(reports) < 2 for reports in groups.values()):
        return []
    keys = [key for key, _ in next(iter(groups))]
    rows = [[*keys, "runs", *(figure.head for figure in figures)]]
    for settings, reports in groups.items():
        cells = [_mean((value_of(report, figure) for report in reports), figure) for figure in figures]
        rows.append([*(value for _, value in settings), str(len(reports)), *cells])
    return rows


def over_seeds(entries: Sequence[Entry]) -> dict[tuple[tuple[str, str], ...], list[Mapping[str, Any]]]:
    """Groups the runs that differ in their seed alone.

    Args:
        entries: The runs; those that are not done are left out.

    Returns:
        The reports of each group by its settings: pairs of a config key and the value, "" where a run does not
        change that key.
    """
    keys = [key for key in _keys(entries) if key != SEED]
    groups: dict[tuple[tuple[str, str], ...], list[Mapping[str, Any]]] = {}
    for entry in entries:
        if entry.report is not None:
            settings = tuple((key, str(entry.overrides.get(key, ""))) for key in keys)
            groups.setdefault(settings, []).append(entry.report)
    return groups


def _mean(found: Iterable[float | None], figure: Figure) -> str:
    """Mean and standard deviation of a figure; empty where no run has it, without the deviation where one has."""
    values = [value for value in found if value is not None]
    if not values:
        return ""
    mean = figure.show(statistics.fmean(values))
    return mean if len(values) < 2 else f"{mean} ± {figure.show(statistics.stdev(values))}"


def _unwritable(file: epath.Path, error: OSError) -> TrainingError:
    return TrainingError(f"cannot write '{file}': {error.strerror or error}; choose another place")


def _in_markdown(table: Sequence[Sequence[str]]) -> str:
    head, *body = table
    rows = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in body)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def value_of(report: Mapping[str, Any], figure: Figure) -> float | None:
    """Reads a figure of a report.

    Args:
        report: The report of a run.
        figure: Which figure.

    Returns:
        The number; None if the report has none.

    Raises:
        DamagedFileError: The value is not a finite number.
    """
    *groups, name = figure.path
    value = _group(report, groups).get(name)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            if math.isfinite(value):
                return float(value)
        except OverflowError:
            pass
    raise _damaged(figure.path, value)


def _group(report: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any]:
    """Group of figures in a report; empty if it has none.

    Raises:
        DamagedFileError: The value is not a group.
    """
    group: Mapping[str, Any] = report
    for depth, name in enumerate(path):
        group = group.get(name, {})
        if not isinstance(group, dict):
            raise _damaged(path[: depth + 1], group)
    return group


def _damaged(path: Sequence[str], value: Any) -> DamagedFileError:
    return DamagedFileError(f"report.json is damaged ({'.'.join(path)} is {str(value)[:40]!r})")


def _progress(folder: epath.Path) -> str:
    """Describes how far a run without a report is.

    Raises:
        DamagedFileError: What the run has written cannot be read.
    """
    config = read_json(folder / "config.json")
    if config is None:
        return "missing"
    try:
        schedule = config["schedule"]
        total = int(schedule["full_steps"]) + int(schedule["trim_steps"])
    except (LookupError, TypeError, ValueError):
        raise DamagedFileError("config.json is damaged (no schedule)") from None
    file = folder / "metrics.jsonl"
    try:
        lines = file.read_text().splitlines() if file.exists() else []
        step = int(json.loads(lines[-1])["step"]) if lines else 0
    except (OSError, LookupError, TypeError, ValueError, RecursionError):
        raise DamagedFileError("unfinished, and the end of metrics.jsonl is damaged") from None
    return f"unfinished, step {step:,} of {total:,}"
