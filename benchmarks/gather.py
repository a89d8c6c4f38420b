"""Puts what several commands measured into one file of figures, with the commands, commits and machines behind it.

    python benchmarks/gather.py --layout=rows --output=host_share.json model=meter_base a.json model=blip_vqa b.json

Each file is one that a command wrote with --output. The labels before it are added to its rows, as keys. --layout
says what kind of files they are, and what becomes of them:

- `rows`: files of `smarttrim_jax.benchmark`; their results as one list.
- `steps`, `slices`: files of `smarttrim_jax.aot`; a row for each, with its main figures, or whole.
- `dial`: files of `smarttrim_jax.evaluate`; a row for each: a run, asked for a speed-up.
- `sections`: the same, under the name that its label `run` gives.
- `runs`: files of `benchmarks/accelerator.sh`; whole, as a list.
"""

import argparse
import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from smarttrim_jax.benchmarking.origin import write_figures
from smarttrim_jax.errors import DataError, SmartTrimError
from smarttrim_jax.json_text import parse_json
from smarttrim_jax.small_files import read_json

ORIGIN = ("machine", "commit", "command", "trained_by")
STEP = ("batch_size", "parameters", "state_bytes", "model_flops")

Part = tuple[dict[str, Any], dict[str, Any]]
"""Labels of a file, and its content."""


def gather(layout: str, parts: Sequence[Part]) -> dict[str, Any]:
    """Puts files together.

    Args:
        layout: One of `LAYOUTS`.
        parts: Labels and content of each file.

    Returns:
        Machine, commit and commands of all files, and their figures.

    Raises:
        DataError: A file is of another kind than the layout is for.
    """
    try:
        return origins([content for _, content in parts]) | LAYOUTS[layout](parts)
    except (KeyError, TypeError) as error:
        raise DataError(f"--layout={layout} is not for these files: {type(error).__name__} {error}") from None


def origins(contents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Machine, commit and commands of several files; lists of machines and commits where they differ."""
    machines: list[Any] = []
    commits: list[Any] = []
    commands: list[str] = []
    for content in contents:
        told = [*content.get("trained_by", ()), content]
        commits += dict.fromkeys(each["commit"] for each in told if each["commit"] not in commits)
        commands += dict.fromkeys(each["command"] for each in told if each["command"] not in commands)
        machines += [content["machine"]] if content["machine"] not in machines else []
    return {"machine": _one_or_all(machines), "commit": _one_or_all(commits), "commands": commands}


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _rows(parts: Sequence[Part]) -> dict[str, Any]:
    return {"results": [labels | row for labels, content in parts for row in content["results"]]}


def _slices(parts: Sequence[Part]) -> dict[str, Any]:
    return {"results": [labels | _without(content, ORIGIN) for labels, content in parts]}


def _steps(parts: Sequence[Part]) -> dict[str, Any]:
    rows = []
    for labels, content in parts:
        step = content["step"]
        rows.append(
            labels
            | {key: step[key] for key in STEP}
            | {key: content[key] for key in ("bytes_sent", "efficiency")}
            | {"peak_bytes": step["program"]["peak_bytes"], "compiled_in_seconds": step["program"]["seconds"]}
        )
    _, first = parts[0]
    return {key: first[key] for key in ("topology", "devices")} | {"results": rows}


def _sections(parts: Sequence[Part]) -> dict[str, Any]:
    return {labels["run"]: origins([content]) | _section(content) for labels, content in parts}


def _section(report: Mapping[str, Any]) -> dict[str, Any]:
    section = {key: report[key] for key in ("split", "examples", "chance")} | {"full": report["metrics"]["full"]}
    if "speedup" in report:
        section |= {"asked": report["speedup"]["asked"], "macs_speedup": report["speedup"]["macs"]}
        section |= {"trimmed": report["metrics"]["trimmed"], "kept": report["kept"]}
    return section


def _dial(parts: Sequence[Part]) -> dict[str, Any]:
    _, first = parts[0]
    same = {key: first[key] for key in ("split", "examples", "chance")}
    return same | {"results": [labels | dict(_point(content)) for labels, content in parts]}


def _point(report: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A report as one row: metrics trimmed under their own names, at full capacity with "_full" behind them."""
    if "speedup" in report:
        yield "asked", report["speedup"]["asked"]
        yield "macs_speedup", report["speedup"]["macs"]
        yield from ((_short(name), value) for name, value in report["metrics"]["trimmed"].items())
        yield "macs", report["macs"]["trimmed"]
        yield "kept", report["kept"]
    yield from ((f"{_short(name)}_full", value) for name, value in report["metrics"]["full"].items())
    yield "macs_full", report["macs"]["full"]["mean"]


def _short(metric: str) -> str:
    """The name of a kind of questions alone, where a metric is the accuracy of that kind: "accuracy (relational)"."""
    kind = re.fullmatch(r"accuracy \((.+)\)", metric)
    return kind[1] if kind else metric


def _runs(parts: Sequence[Part]) -> dict[str, Any]:
    return {"runs": [labels | content for labels, content in parts]}


def _without(content: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}


LAYOUTS: dict[str, Callable[[Sequence[Part]], dict[str, Any]]] = {
    "rows": _rows,
    "steps": _steps,
    "slices": _slices,
    "dial": _dial,
    "sections": _sections,
    "runs": _runs,
}


def main(words: Sequence[str] | None = None) -> None:
    """Runs the command.

    Args:
        words: Words of the command line; None for those of the process.

    Raises:
        DataError: A file cannot be read, or is of another kind than the layout is for.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layout", choices=LAYOUTS, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("parts", nargs="+", metavar="NAME=VALUE|FILE", help="labels, and the file that they are for")
    flags = parser.parse_args(words)
    parts: list[Part] = []
    labels: dict[str, Any] = {}
    for word in flags.parts:
        name, equals, value = word.partition("=")
        if equals:
            labels[name] = _value(value)
        else:
            parts.append((labels, read_json(word, "measure it again", DataError)))
            labels = {}
    if labels or not parts:
        parser.error(f"'{flags.parts[-1]}' is followed by no file")
    write_figures(flags.output, gather(flags.layout, parts))


def _value(text: str) -> Any:
    """A label's value: a number or true or false where it is one, else a text."""
    try:
        return parse_json(text)
    except ValueError:
        return text


if __name__ == "__main__":
    try:
        main()
    except SmartTrimError as error:
        sys.exit(f"error: {error}")
