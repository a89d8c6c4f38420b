"""Where figures come from: the machine, the commit and the command, which every file of figures says."""

import json
import os
import platform
import sys
from typing import Any

import jax
from etils import epath

from smarttrim_jax import version
from smarttrim_jax.benchmarking.typed_command import as_typed
from smarttrim_jax.errors import CheckpointError, DataError
from smarttrim_jax.small_files import check_writable, read_json, write_whole
from smarttrim_jax.training.provenance import ENVIRONMENT, git_state


def origin(program: str, *, commit: str = "", **machine: Any) -> dict[str, Any]:
    """Says where the figures come from that this process measures; call it before the first of them is written.

    Args:
        program: What a user types before the flags, as "python -m smarttrim_jax.benchmark".
        commit: Name of the commit where there is no git; "" asks git.
        machine: What else matters of the machine, by name.

    Returns:
        JSON-ready dict with `machine` (see `describe_machine`), `commit` (see `named_commit`; the release where the
        package is no checkout) and `command` (see `as_typed`).
    """
    return {
        "machine": describe_machine() | machine,
        "commit": commit or named_commit(git_state(version.__file__)) or f"release {version.__version__}",
        "command": as_typed(program, sys.argv[1:], environment=os.environ),
    }


def describe_machine() -> dict[str, Any]:
    """Describes what the figures are measured on.

    Returns:
        JSON-ready dict with `device`, `devices`, `processor`, `cores`, `python` and `jax`.
    """
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "devices": jax.device_count(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def named_commit(state: dict[str, Any] | None) -> str:
    """Names a commit in a word or three.

    Args:
        state: From `git_state`.

    Returns:
        Its first seven digits, with " with changes" behind them where tracked files differ from it; "" for None.
    """
    return "" if state is None else state["commit"][:7] + (" with changes" if state["dirty"] else "")


def trained_by(*workdirs: str) -> list[dict[str, str]]:
    """Reads from runs' folders how they were trained.

    Args:
        *workdirs: Folders of runs, on a disk or in a bucket, or of saved models.

    Returns:
        `commit` and `command` of each of their starts, without repetition; nothing of a folder that does not tell.
    """
    told = [start for workdir in workdirs for start in _starts(workdir)]
    return [start for number, start in enumerate(told) if start not in told[:number]]


def _starts(workdir: str) -> list[dict[str, str]]:
    """`commit` and `command` of each start of a run."""
    try:
        starts = read_json(epath.Path(workdir) / ENVIRONMENT, "")["starts"]
        return [
            {
                "commit": named_commit(start["git"]["smarttrim_jax"]),
                "command": as_typed("python -m smarttrim_jax.train", start["command"][1:]),
            }
            for start in starts
        ]
    except (AttributeError, CheckpointError, KeyError, TypeError):  # The file is for people; nothing depends on it.
        return []


def check_figures(path: str | os.PathLike[str]) -> None:
    """Checks before anything is measured that a file of figures can be written; one that is there stays as it is.

    Args:
        path: Path of the file, in a folder that exists.

    Raises:
        ConfigError: It is in a bucket, and the package that accesses buckets is not installed.
        DataError: The file cannot be written.
    """
    try:
        check_writable(path)
    except OSError as error:
        raise _unwritable(path, error) from None


def write_figures(path: str | os.PathLike[str], figures: dict[str, Any]) -> None:
    """Writes a file of figures, which is complete at any moment.

    Args:
        path: Path of the file, in a folder that exists.
        figures: JSON-ready content: `origin` and what was measured.

    Raises:
        DataError: The file cannot be written.
    """
    try:
        write_whole(path, json.dumps(figures, indent=1) + "\n")
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: str | os.PathLike[str], error: OSError) -> DataError:
    return DataError(f"cannot write '{os.fspath(path)}': {error.strerror or error}; choose another --output")


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
