"""A command line as a user types it, free of what belongs to one machine or user."""

import os
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence

from smarttrim_jax import version
from smarttrim_jax.training.provenance import without_secrets

ROOT = pathlib.Path(version.__file__).absolute().parents[1]
VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")
"""Environment variables that change what a compiler makes of a program, and so belong to the command."""
CUT = "..."
"""Stands for folders that only one machine has."""

# An address, as gs://bucket/run, or a path that leads out of the working folder; in a list, or behind a flag's name.
_PLACE = re.compile(r"\b\w+://[^\s,;'\"]*|(?<![^\s=,:;'\"])(?:\.\.)?/(?=\S)[^,:;'\"]*")


def as_typed(program: str, words: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Writes a command as a user types it in the repository's folder, on whatever machine.

    --output is left out, since it changes no figure, and secrets are hidden. A path is relative to the working folder
    or the repository; one that leads elsewhere keeps its last name only, as in ".../quick", and so does an address.

    Args:
        program: What is typed before the flags, as "python -m smarttrim_jax.benchmark".
        words: The flags.
        environment: Environment variables, of which those of `VARIABLES` stand before the program; None for none.

    Returns:
        One line that a shell reads.
    """
    shown: list[str] = []
    is_output = False
    for word in without_secrets([program, *words])[1:]:
        if is_output:
            is_output = False
            continue
        name, equals, _ = word.partition("=")
        if name in ("--output", "-output"):
            is_output = not equals
        else:
            shown.append(shlex.quote(_anywhere(word)))
    given = {name: (environment or {}).get(name, "").split() for name in VARIABLES}
    variables = [f"{name}={shlex.quote(' '.join(map(_anywhere, flags)))}" for name, flags in given.items() if flags]
    return " ".join([*variables, program, *shown])


def _anywhere(word: str) -> str:
    return _PLACE.sub(_without_folders, word)


def _without_folders(match: re.Match[str]) -> str:
    place = match[0]
    if "://" in place:
        scheme, _, rest = place.partition("://")
        name = rest.rstrip("/").rpartition("/")[2] if "/" in rest else ""
        return f"{scheme}://{CUT}/{name}" if name else f"{scheme}://{CUT}"
    path = pathlib.Path(os.path.abspath(place))
    home = pathlib.Path(os.path.expanduser("~"))
    if path == home:
        return "~"
    for folder in (pathlib.Path.cwd(), ROOT):
        # Relative to a folder above all homes, a path would still name its user.
        if path.is_relative_to(folder) and not (home.is_relative_to(folder) and home != folder):
            return str(path.relative_to(folder))
    return f"{CUT}/{path.name}"
