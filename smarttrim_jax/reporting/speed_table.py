"""The benchmark's rows as lines for a terminal, each as soon as it is there."""

from typing import Any

COLUMNS = {
    "": 8,
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
"""Names and widths."""


def speed_head() -> str:
    """The line above all rows; speed-ups are against the faster of full and padded."""
    return _line(list(COLUMNS))


def format_speed(row: dict[str, Any]) -> str:
    """One execution's line; "asked" is the share to keep or the speed-up of the dial."""
    return _line(
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


def _line(cells: list[str]) -> str:
    first, *others = zip(cells, COLUMNS.values(), strict=True)
    return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]).rstrip()
