"""The page of `--help`: what the command is for, an example, and its own flags."""

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

from absl import flags

WORDS = ("--help", "-help", "--helpshort", "--helpfull", "-h", "-?")
PACKAGE = "smarttrim_jax"


def own_flags() -> dict[str, flags.Flag[Any]]:
    """Collects the flags that the command and the library define; those of other packages are left out.

    The command's own flags come first. It defines them last, after the modules that it imports have defined theirs.

    Returns:
        Flags by name.
    """
    program = sys.argv[0]  # Name that absl gives to the module that was started.
    modules = flags.FLAGS.flags_by_module_dict()
    own = [module for module in modules if module == program or module.startswith(PACKAGE)]
    return {flag.name: flag for module in own[-1:] + own[:-1] for flag in modules[module]}


def page(purpose: str, more: Iterable[str] = ()) -> Iterator[str]:
    """Yields the lines of the page.

    Args:
        purpose: Docstring of the command: what it is for, with examples.
        more: Further lines for the end of the page.

    Yields:
        The lines, wrapped to the width of the terminal.
    """
    width = min(shutil.get_terminal_size().columns, 118)
    yield purpose.strip()
    yield ""
    yield "Flags:"
    for name, flag in own_flags().items():
        if not name.startswith("config."):
            yield f"  --{'[no]' if flag.boolean else ''}{name}"
            yield from _indented(flag.help + _default(flag), width)
    yield ""
    for line in more:
        yield from _indented(line.strip(), width) if line.startswith("      ") else [line]


def _default(flag: flags.Flag[Any]) -> str:
    return (
        ""
        if flag.default in (None, "", [], ())
        else f" By default {flag.serialize().partition('=')[2] or flag.value}."
    )


def _indented(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=" " * 6, subsequent_indent=" " * 6)
