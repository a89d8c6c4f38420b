"""What all commands share: flags, quiet libraries, and errors in one sentence."""

import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags, logging

from smarttrim_jax.errors import SmartTrimError


def run_command(main: Callable[[], None], required: tuple[str, ...]) -> None:
    """Parses the flags and runs a command; an input error is one line on standard error and exit status 1.

    Args:
        main: the command.
        required: flags that must be given.
    """
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file it writes
    flags.mark_flags_as_required(required)
    app.run(lambda _: _guarded(main), flags_parser=_parse)


def _parse(arguments: list[str]) -> list[str]:
    """absl's parser, with the errors of config files and their keys in one sentence."""
    try:
        return app.parse_flags_with_usage(arguments)
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        _fail(" ".join(str(error.args[0] if error.args else error).split()))


def _guarded(main: Callable[[], None]) -> None:
    try:
        main()
    except SmartTrimError as error:
        _fail(str(error))


def _fail(sentence: str) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(1)
