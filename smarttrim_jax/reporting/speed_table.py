"""The benchmark's rows as a table for a terminal."""

from typing import Any

from smarttrim_jax.reporting.table import aligned


def format_speed(rows: list[dict[str, Any]]) -> str:
    """One line for each execution; speed-ups are against the faster of full and padded."""
    head = [
        "",
        "batch",
        "keep" if "keep" in rows[0] else "asked",
        "ms",
        "MACs",
        "speed-up",
        "realised",
        "of peak",
        "padding",
    ]
    lines = [head]
    for row in rows:
        asked = row.get("keep", row.get("asked"))
        lines.append(
            [
                row["execution"],
                str(row["batch_size"]),
                f"{asked:g}",
                f"{1e3 * row['seconds']:.1f}",
                f"{row['macs_ratio']:.2f}x",
                f"{row['speedup']:.2f}x",
                f"{row['realised']:.2f}",
                f"{row['of_peak']:.2f}" if "of_peak" in row else "",
                f"{100 * row['padding_waste']:.1f} %" if "padding_waste" in row else "",
            ]
        )
    return "\n".join(aligned(lines))
