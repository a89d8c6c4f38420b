"""Results of a sweep's runs as a picture: the score against the speed-up, in MACs and in time."""

import importlib.util
import io
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from smarttrim_jax.errors import ConfigError
from smarttrim_jax.sweeps.table import SPEED_UPS, TIME, Entry, Figure, columns, over_seeds, value_of, write_whole

ASKED, MACS = SPEED_UPS
BUDGET = "cost.target_speedup"
"""The setting whose values are points of one line."""
LINE = {"marker": "o", "markersize": 4, "capsize": 2, "linewidth": 1.2, "elinewidth": 0.8}


def check_plot(file: str) -> None:
    """Checks that a plot can be written, before anything runs.

    Args:
        file: File to write.

    Raises:
        ConfigError: It is no SVG file, or Matplotlib is not installed.
    """
    if epath.Path(file).suffix != ".svg":
        raise ConfigError(f"--plot={file} is no SVG file; its name must end in .svg")
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("--plot needs Matplotlib; pip install -e '.[plot]' brings it")


def write_plot(entries: Sequence[Entry], file: epath.Path) -> None:
    """Draws the primary metric of the trimmed models against their speed-ups.

    One line connects the budgets of runs whose other settings are equal. Points are means over seeds, bars standard
    deviations, and the dashed line is the mean of all runs at full capacity. A second picture is against the speed-up
    in time where all runs were timed.

    Args:
        entries: The runs; those that are not done are left out.
        file: SVG file to write.

    Raises:
        ConfigError: No run is done that reports a score and a speed-up.
        TrainingError: The file cannot be written.
    """
    import matplotlib
    from matplotlib.figure import Figure as Picture

    done = [entry for entry in entries if entry.report is not None]
    full, trimmed, *others = columns(done)
    if full in SPEED_UPS or not all(_has(entry.report, trimmed, MACS) for entry in done):
        raise ConfigError(f"there is nothing to draw in {file}: --plot needs runs that report a score and their MACs")
    lines, reports = _lines(done), [entry.report for entry in done if entry.report is not None]
    axes = [MACS, *([TIME] if TIME in others and all(_has(entry.report, TIME) for entry in done) else [])]
    # Plain text keeps the file small, and the salt keeps it the same for the same figures.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "smarttrim_jax", "font.size": 9}):
        picture = Picture(figsize=(4.2 * len(axes), 3.4), layout="constrained")
        places = picture.subplots(1, len(axes), squeeze=False)[0]
        for axis, place in zip(axes, places, strict=True):
            for name, points in lines.items():
                x, y = ([_mean_and_spread(point, figure) for point in points] for figure in (axis, trimmed))
                place.errorbar(*_columns(x, y), label=name, **LINE)
            place.axhline(_mean_and_spread(reports, full)[0], color="grey", linestyle="--", linewidth=0.8)
            place.set_xlabel(f"speed-up in {axis.head}")
            place.grid(alpha=0.3)
        places[0].set_ylabel(trimmed.head)
        places[0].legend(frameon=False)
        drawn = io.StringIO()
        picture.savefig(drawn, format="svg", metadata={"Date": None})
    write_whole(file, drawn.getvalue())


def _lines(entries: Sequence[Entry]) -> dict[str, list[list[Mapping[str, Any]]]]:
    """By the name of each line, the reports of the runs behind each of its points, lowest speed-up first."""
    lines: dict[str, list[list[Mapping[str, Any]]]] = {}
    for settings, reports in over_seeds(entries).items():
        name = " ".join(value for key, value in settings if key != BUDGET and value) or "default"
        lines.setdefault(name, []).append(reports)
    for points in lines.values():
        points.sort(key=lambda reports: _mean_and_spread(reports, ASKED)[0])
    return lines


def _has(report: Mapping[str, Any] | None, *figures: Figure) -> bool:
    return report is not None and all(value_of(report, figure) is not None for figure in figures)


def _mean_and_spread(reports: Sequence[Mapping[str, Any]], figure: Figure) -> tuple[float, float]:
    """Mean and standard deviation of a figure; 0 of a figure that no run has, and as the deviation of one value."""
    found = [value for value in (value_of(report, figure) for report in reports) if value is not None]
    return statistics.fmean(found or [0.0]), statistics.stdev(found) if len(found) > 1 else 0.0


def _columns(x: Sequence[tuple[float, float]], y: Sequence[tuple[float, float]]) -> tuple[list[float], ...]:
    """The arguments of `errorbar`: x, y, deviations of y, deviations of x."""
    return [each[0] for each in x], [each[0] for each in y], [each[1] for each in y], [each[1] for each in x]
