"""Records what made a run, with one entry per start: git commits, versions, devices and the command line."""

import datetime
import importlib.metadata
import logging
import os
import pathlib
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import jax
from etils import epath

from smarttrim_jax import version
from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.small_files import read_json, write_json

_log = logging.getLogger(__name__)

ENVIRONMENT = "environment.json"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
GIT_SECONDS = 10
HIDDEN = "***"

_SECRET = re.compile(r"(?:^|[-_.])(?:token|secret|password|passwd|credentials?|key)(?:$|[-_.])", re.IGNORECASE)
_LOGIN = re.compile(r"(?<=://)[^/@\s]+(?=@)")


def record_start(folder: str | os.PathLike[str], start_step: int, config_file: str | None = None) -> None:
    """Adds an entry about this start to a run's `environment.json`, on process 0 only; a failure is only a warning.

    The file is for people. Nothing is decided by its content, so it has no digest.

    Args:
        folder: Folder of the run, on a disk or in a bucket.
        start_step: Step that the run starts or resumes from.
        config_file: File that the configuration came from; None if there is none.
    """
    if jax.process_index() != 0:
        return
    try:
        path = epath.Path(folder) / ENVIRONMENT
        try:
            earlier = read_json(path, "").get("starts")
        except CheckpointError:  # There is no file yet, or it is damaged and is replaced.
            earlier = None
        starts = earlier if isinstance(earlier, list) else []
        write_json(path, {"starts": [*starts, describe_start(start_step, config_file)]})
    except Exception as error:
        _log.warning("cannot say in %s what this run is made by (%s: %s)", ENVIRONMENT, type(error).__name__, error)


def describe_start(start_step: int, config_file: str | None = None) -> dict[str, Any]:
    """Describes this process: time, command line, git commits, versions and devices.

    Args:
        start_step: Step that the run starts or resumes from.
        config_file: File that the configuration came from, whose git commit is recorded; None if there is none.

    Returns:
        JSON-ready dict with `time`, `step`, `command`, `git`, `versions` and `devices`.
    """
    sources = {"smarttrim_jax": version.__file__, "config": config_file}
    devices = jax.devices()
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "step": start_step,
        "command": without_secrets(sys.argv),
        "git": {name: git_state(file) for name, file in sources.items() if file is not None},
        "versions": {
            "python": platform.python_version(),
            "smarttrim_jax": version.__version__,
            **{name: _version(name) for name in PACKAGES},
        },
        "devices": {
            "platform": devices[0].platform,
            "kind": devices[0].device_kind,
            "count": len(devices),
            "processes": jax.process_count(),
        },
    }


def git_state(file: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Finds the commit of the repository that a file belongs to, and whether tracked files differ from it.

    Args:
        file: Any file.

    Returns:
        `commit` (hash) and `dirty` (bool); None where git does not track the file or is not installed.
    """
    path = pathlib.Path(file).expanduser().absolute()
    if _git(path.parent, "ls-files", "--error-unmatch", "--", path.name) is None:
        return None
    commit = _git(path.parent, "rev-parse", "HEAD")
    changes = _git(path.parent, "status", "--porcelain", "--untracked-files=no")
    return None if commit is None else {"commit": commit, "dirty": changes != ""}


def without_secrets(words: Sequence[str]) -> list[str]:
    """Hides values of flags like --api_key, and logins in addresses, in a command line.

    Args:
        words: The command line, the program first.

    Returns:
        The command line with secrets replaced by `HIDDEN`.
    """
    shown: list[str] = []
    is_secret = False
    for word in words:
        if is_secret and not word.startswith("-"):
            shown.append(HIDDEN)
            is_secret = False
            continue
        flag, equals, _ = word.partition("=")
        names_secret = flag.startswith("-") and _SECRET.search(flag.lstrip("-")) is not None
        is_secret = names_secret and not equals
        shown.append(f"{flag}={HIDDEN}" if names_secret and equals else _LOGIN.sub(HIDDEN, word))
    return shown


def _git(folder: pathlib.Path, *words: str) -> str | None:
    """Runs git in a folder; returns its output, or None where it fails or is not installed."""
    # `git status` would otherwise lock the index, and disturb a user who works in the repository.
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
