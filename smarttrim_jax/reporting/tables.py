"""Tables for a terminal: the final report, the rows of benchmarks, and the cost of training steps."""

from typing import Any

PARTS = ("tokens", "heads", "cross_heads", "twin_heads")
"""Parts of a layer that can be trimmed, in the order of columns."""
SPEED_COLUMNS = {
    "": 11,
    "batch": 5,
    "asked": 5,
    "ms": 9,
    "MACs": 6,
    "speed-up": 8,
    "realised": 8,
    "of peak": 7,
    "padding": 7,
    "x torch": 7,
}


def step_head() -> str:
    """Returns the line above all rows; costs are relative to a plain step."""
    return "step       batch         ms     cost"


def format_step(row: dict[str, Any]) -> str:
    """Formats one kind of training step.

    Args:
        row: Row of `benchmarking.step_speed.step_rows`.

    Returns:
        One line.
    """
    return f"{row['step']:9}  {row['batch_size']:5d}  {1e3 * row['seconds']:9.1f}  {row['cost']:6.2f}x"


def host_head() -> str:
    """Returns the line above all rows; times are relative to one program at full capacity."""
    return "execution           batch         ms  over full    compile"


def format_host(row: dict[str, Any]) -> str:
    """Formats what a call of one execution costs besides computing.

    Args:
        row: Row of `benchmarking.host_share.measure_host`.

    Returns:
        One line.
    """
    return (
        f"{row['execution']:18}  {row['batch_size']:5d}  {row['host_ms']:9.1f}  {row['over_full']:8.2f}x  "
        f"{row['compile_seconds']:7.1f} s"
    )


def speed_head() -> str:
    """Returns the line above all rows; speed-ups are relative to the faster of full and padded."""
    return _speed_line(list(SPEED_COLUMNS))


def format_speed(row: dict[str, Any]) -> str:
    """Formats one execution; the column "asked" is the share to keep or the speed-up of the dial.

    Args:
        row: Row of `benchmarking.speed_report`.

    Returns:
        One line.
    """
    return _speed_line(
        [
            row["execution"],
            str(row["batch_size"]),
            f"{row.get('keep', row.get('asked')):g}",
            f"{1e3 * row['seconds']:.1f}",
            f"{row['macs_ratio']:.2f}x",
            f"{row['speedup']:.2f}x",
            f"{row['realised']:.2f}",
            f"{row['of_peak']:.2f}" if "of_peak" in row else "",
            f"{100 * row['padding_waste']:.1f} %" if "padding_waste" in row else "",
            f"{row['against_torch']:.2f}x" if "against_torch" in row else "",
        ]
    )


def _speed_line(cells: list[str]) -> str:
    first, *others = zip(cells, SPEED_COLUMNS.values(), strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip()


def format_report(report: dict[str, Any]) -> str:
    """Formats metrics and MACs of both passes, then what every layer kept.

    Args:
        report: Report of `evaluation.report.build_report`.

    Returns:
        Several lines of text.
    """
    trimmed = "trimmed" in report["metrics"]
    passes = ["full", "trimmed"] if trimmed else ["full"]
    chance = report.get("chance", {})  # Reports of earlier versions have none.
    columns = [*passes, "chance"] if chance else passes
    rows = [["", *columns]]
    for name in report["metrics"]["full"]:
        scores = [*(report["metrics"][each].get(name) for each in passes), chance.get(name)]
        rows.append([name, *map(shown_score, scores[: len(columns)])])
    rows.append(["MACs, mean", *(_millions(report["macs"][each]["mean"]) for each in passes)])
    if trimmed:
        for name in ("p50", "p90"):
            rows.append([f"MACs, {name}", "", _millions(report["macs"]["trimmed"][name])])
        rows.append(["speed-up in MACs", "1.00x", f"{report['speedup']['macs']:.2f}x"])
        rows.append(["  asked for", "", f"{report['speedup']['asked']:.2f}x"])
    lines = [f"{report['dataset']}, {report['split']} split, {report['examples']:,} examples"]
    lines += aligned([row + [""] * (1 + len(columns) - len(row)) for row in rows])
    if unknown := [name for name, score in report["metrics"]["full"].items() if score is None]:
        why = "it counts no example of this split, as where answers are secret"
        lines.append(f"no score of {', '.join(unknown)}: {why}")
    if "execution" in report:
        lines.append(f"executed as {report['execution']['name']}, {report['execution']['programs']} programs")
    if trimmed:
        trims = [name for name in PARTS if any(name in parts for parts in report["kept"].values())]
        kept = [["kept by layer", *(name.replace("_", " ") for name in trims)]]
        for run, parts in sorted(report["kept"].items()):
            for layer in range(len(parts["tokens"])):
                shares = [f"{parts[name][layer]:.2f}" if name in parts else "" for name in trims]
                kept.append([f"{run} {layer}", *shares])
        lines += ["", *aligned(kept)]
    return "\n".join(lines)


def shown_score(score: float | None) -> str:
    """Formats a metric's score.

    Args:
        score: The score; None where it is not finite or was not computed.

    Returns:
        The score with four digits; empty for None.
    """
    return "" if score is None else f"{score:.4f}"


def _millions(macs: float) -> str:
    return f"{macs / 1e9:.2f} G" if macs >= 1e9 else f"{macs / 1e6:.2f} M"


def aligned(rows: list[list[str]]) -> list[str]:
    """Aligns cells in columns: the first column to the left, the others to the right.

    Args:
        rows: Rows of equally many cells.

    Returns:
        One line per row.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
