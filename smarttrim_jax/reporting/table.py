"""The final report as a table for a terminal."""

from typing import Any

PARTS = ("tokens", "heads", "cross_heads", "twin_heads")
"""What a layer keeps shares of, as far as it has any."""


def format_report(report: dict[str, Any]) -> str:
    """Metrics and MACs of both passes, then what every layer kept."""
    trimmed = "trimmed" in report["metrics"]
    passes = ["full", "trimmed"] if trimmed else ["full"]
    rows = [["", *passes]]
    for name in report["metrics"]["full"]:
        rows.append([name, *(shown_score(report["metrics"][each].get(name)) for each in passes)])
    rows.append(["MACs, mean", *(_millions(report["macs"][each]["mean"]) for each in passes)])
    if trimmed:
        for name in ("p50", "p90"):
            rows.append([f"MACs, {name}", "", _millions(report["macs"]["trimmed"][name])])
        rows.append(["speed-up in MACs", "1.00x", f"{report['speedup']['macs']:.2f}x"])
        rows.append(["  asked for", "", f"{report['speedup']['asked']:.2f}x"])
    lines = [f"{report['dataset']}, {report['split']} split, {report['examples']:,} examples", *aligned(rows)]
    if "execution" in report:
        lines.append(f"{report['execution']['name']} execution, {report['execution']['programs']} programs of layers")
    if trimmed:
        columns = [name for name in PARTS if any(name in parts for parts in report["kept"].values())]
        kept = [["kept by layer", *(name.replace("_", " ") for name in columns)]]
        for run, parts in sorted(report["kept"].items()):
            for layer in range(len(parts["tokens"])):
                shares = [f"{parts[name][layer]:.2f}" if name in parts else "" for name in columns]
                kept.append([f"{run} {layer}", *shares])
        lines += ["", *aligned(kept)]
    return "\n".join(lines)


def shown_score(score: float | None) -> str:
    """A metric's score; empty where it is not finite or was not computed."""
    return "" if score is None else f"{score:.4f}"


def _millions(macs: float) -> str:
    return f"{macs / 1e9:.2f} G" if macs >= 1e9 else f"{macs / 1e6:.2f} M"


def aligned(rows: list[list[str]]) -> list[str]:
    """Rows of cells as lines with even columns, the first to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
