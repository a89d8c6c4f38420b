"""What steps of training cost, as lines for a terminal."""

from typing import Any


def step_head() -> str:
    """The line above all rows; costs are those of a plain step."""
    return "step       batch         ms     cost"


def format_step(row: dict[str, Any]) -> str:
    """One step's line."""
    return f"{row['step']:9}  {row['batch_size']:5d}  {1e3 * row['seconds']:9.1f}  {row['cost']:6.2f}x"
