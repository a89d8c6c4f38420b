"""Compares two files of figures of one benchmark, and says what moved by more than the noise.

    git show HEAD~20:benchmarks/meter_base.json > before.json
    python benchmarks/compare.py before.json benchmarks/meter_base.json [--noise=0.05] [--absolute]

A row is found again by its names and settings (`batch_size`, `keep`, `execution`, ...). A figure moved if it changed
by more than the share --noise, or than the `spread` of its row in either file if that is larger. Times, rates and
sizes that belong to one machine are left out, unless --absolute asks for them: ratios of one run carry over, these do
not.
The exit status is 1 if a figure moved or rows are missing, 0 otherwise.
"""

import argparse
import collections
import json
import math
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

SETTINGS = ("batch_size", "keep", "asked", "seed", "pixels", "devices", "workers", "objects", "depth")
"""Numbers that say what was measured, as all texts do."""
PROVENANCE = ("machine", "compiler", "commit", "command", "commands", "trained_by", "settings", "minutes", "notes")
"""Keys that say where figures come from."""
ABSOLUTE = ("seconds", "_ms", "milliseconds", "per_second", "per_core_second", "bytes", "in_seconds", "programs")
"""Ends of the names of figures that belong to one machine or compiler."""
LEAST_NOISE = 1e-9


class Figure(NamedTuple):
    """A number of a file.

    Attributes:
        value: The number.
        spread: Relative spread of its row; 0 where none was measured.
    """

    value: float
    spread: float


def figures(part: Any, path: tuple[str, ...] = (), spread: float = 0.0) -> Iterator[tuple[tuple[str, ...], Figure]]:
    """Lists the figures of a file.

    Args:
        part: Content of the file, or a part of it.
        path: Keys that lead to the part.
        spread: Relative spread of the row that the part belongs to.

    Yields:
        Each figure with the keys and names that lead to it.
    """
    if isinstance(part, Mapping):
        spread = float(part.get("spread", spread))
        for key, value in part.items():
            if key not in (*PROVENANCE, "spread"):
                yield from figures(value, (*path, key), spread)
    elif isinstance(part, list):
        times: collections.Counter[str] = collections.Counter()
        for index, value in enumerate(part):
            name = _name(value, index)
            times[name] += 1
            again = f" ({times[name]})" if times[name] > 1 else ""
            yield from figures(value, (*path, name + again), spread)
    elif isinstance(part, int | float) and not isinstance(part, bool):
        yield path, Figure(float(part), spread)


def _name(row: Any, index: int) -> str:
    """What tells a row from others: its texts and settings; its place where it has none."""
    if not isinstance(row, Mapping):
        return str(index)
    named = [
        f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in sorted(row.items())
        if key not in PROVENANCE and (isinstance(value, str) or key in SETTINGS)
    ]
    return " ".join(named) or str(index)


def compare(before: Any, after: Any, noise: float, absolute: bool) -> list[str]:
    """Compares the figures of two files.

    Args:
        before: Content of the older file.
        after: Content of the newer file.
        noise: Share by which a figure may change.
        absolute: Whether to compare figures that belong to one machine.

    Returns:
        A line for every figure that moved, appeared or is gone.
    """
    old, new = dict(figures(before)), dict(figures(after))
    lines = []
    for path in dict.fromkeys([*old, *new]):
        if path[-1].endswith(ABSOLUTE) and not absolute:
            continue
        where = ", ".join(path)
        if path not in new:
            lines.append(f"{where}: {old[path].value:.6g} is gone")
        elif path not in old:
            lines.append(f"{where}: {new[path].value:.6g} is new")
        elif _moved(old[path], new[path], noise):
            change = new[path].value / old[path].value - 1 if old[path].value else math.inf
            lines.append(f"{where}: {old[path].value:.6g} -> {new[path].value:.6g} ({change:+.1%})")
    return lines


def _moved(old: Figure, new: Figure, noise: float) -> bool:
    """Whether a figure changed by more than the noise; a number that is none has moved."""
    allowed = max(noise, old.spread, new.spread) * max(abs(old.value), LEAST_NOISE)
    return not abs(new.value - old.value) <= allowed


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command.

    Args:
        words: Words of the command line; None for those of the process.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description="Says which figures moved between two files of one benchmark.")
    parser.add_argument("before", type=pathlib.Path)
    parser.add_argument("after", type=pathlib.Path)
    parser.add_argument("--noise", type=float, default=0.05, help="share by which a figure may change")
    parser.add_argument("--absolute", action="store_true", help="compare times, rates and sizes too")
    flags = parser.parse_args(words)
    if not 0 <= flags.noise < math.inf:
        parser.error(f"--noise is {flags.noise}; it must be at least 0")
    contents = []
    for file in (flags.before, flags.after):
        try:
            contents.append(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            parser.error(f"'{file}' is no file of figures: {error}")
    before, after = contents
    lines = compare(before, after, flags.noise, flags.absolute)
    print("\n".join(lines) or "nothing moved by more than the noise")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())
