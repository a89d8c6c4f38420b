"""What all commands share: flags, quiet libraries, and errors in one sentence."""

import ast
import re
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags, logging

from smarttrim_jax.errors import ConfigError, SmartTrimError
from smarttrim_jax.training.distributed import Timeouts, joined

DISTRIBUTED = flags.DEFINE_enum(
    "distributed",
    "auto",
    ["auto", "on", "off"],
    "Whether this is one of several processes of one run; auto asks the environment (jax, Slurm, TPU pod).",
)
CONNECT_TIMEOUT = flags.DEFINE_integer(
    "connect_timeout", Timeouts.connect, "Seconds until all processes must have come.", lower_bound=1
)
HEARTBEAT_TIMEOUT = flags.DEFINE_integer(
    "heartbeat_timeout",
    Timeouts.heartbeat,
    "Seconds without a sign of life after which a process counts as lost and ends the others.",
    lower_bound=1,
)


def run_command(main: Callable[[], None], required: tuple[str, ...], shared: bool = False) -> None:
    """Parses the flags and runs a command; an input error is one line on standard error and exit status 1.

    Args:
        main: the command.
        required: flags that must be given.
        shared: all processes of a run work on it together; otherwise process 0 alone does.
    """
    logging.set_verbosity(logging.WARNING)  # Orbax tells of every file it writes
    flags.mark_flags_as_required(required)
    app.run(lambda _: _guarded(main, shared), flags_parser=_parse)


def _parse(arguments: list[str]) -> list[str]:
    try:
        return parse_flags(flags.FLAGS, arguments)
    except ConfigError as error:
        _fail(str(error))


def parse_flags(values: flags.FlagValues, arguments: list[str], known_only: bool = False) -> list[str]:
    """Reads flags; errors of a config file and its keys, which come as tracebacks, become one sentence.

    Args:
        values: The flags that there are, which take the values.
        arguments: Words of a command line, the program's name first.
        known_only: Leave flags that are not known among the words that are returned.

    Returns:
        The words that are no flags, the program's name first.

    Raises:
        ConfigError: A flag, a config file or a key of it that cannot be read.
    """
    try:
        rest = values(arguments, known_only=known_only)
        if "config" in values and values.config is not None:
            values.config.to_dict()  # a file that cannot be loaded fails when first used
    except (AttributeError, KeyError) as error:
        raise ConfigError(f"unknown config key {_unquoted(str(error))}") from error
    except (flags.Error, OSError) as error:
        raise ConfigError(_last_words(str(error))) from error
    return rest


def _unquoted(message: str) -> str:
    """A KeyError's message is the repr of a message, here of another one."""
    while len(message) > 1 and message[0] in "'\"" and message[0] == message[-1]:
        message = str(ast.literal_eval(message))
    return " ".join(message.split())


def _last_words(message: str) -> str:
    """What a message says, without the traceback it may carry."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if any(line.startswith(("Traceback", "Attempted")) for line in lines):
        return re.sub(r"^[\w.]+(Error|Exception): ", "", lines[-1])
    return " ".join(lines)


def _guarded(main: Callable[[], None], shared: bool) -> None:
    try:
        with joined(str(DISTRIBUTED.value), Timeouts(CONNECT_TIMEOUT.value, HEARTBEAT_TIMEOUT.value)) as process:
            if shared or process == 0:
                main()
    except SmartTrimError as error:
        _fail(str(error))


def _fail(sentence: str) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(1)
