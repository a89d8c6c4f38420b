"""The final report as a table for a terminal."""

from typing import Any


def format_report(report: dict[str, Any]) -> str:
    """Accuracy and MACs of both passes, then what every layer kept."""
    trimmed = "trimmed" in report["accuracy"]
    passes = ["full", "trimmed"] if trimmed else ["full"]
    rows = [["", *passes], ["accuracy", *(f"{100 * report['accuracy'][each]:.2f} %" for each in passes)]]
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
        kept = [["kept by layer", "tokens", "heads", "cross heads"]]
        for run, parts in sorted(report["kept"].items()):
            for layer, share in enumerate(parts["tokens"]):
                cross = f"{parts['cross_heads'][layer]:.2f}" if "cross_heads" in parts else ""
                kept.append([f"{run} {layer}", f"{share:.2f}", f"{parts['heads'][layer]:.2f}", cross])
        lines += ["", *aligned(kept)]
    return "\n".join(lines)


def _millions(macs: float) -> str:
    return f"{macs / 1e9:.2f} G" if macs >= 1e9 else f"{macs / 1e6:.2f} M"


def aligned(rows: list[list[str]]) -> list[str]:
    """Rows of cells as lines with even columns, the first to the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
