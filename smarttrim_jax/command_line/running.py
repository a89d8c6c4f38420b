"""How every command runs: from its command line to an exit status, whatever happens in between."""

import contextlib
import errno
import io
import itertools
import os
import select
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NoReturn

import jax
from absl import app, logging

from smarttrim_jax.command_line import help_page, parsing
from smarttrim_jax.command_line.typed_flags import define
from smarttrim_jax.compiled_programs import keep_compiled_programs
from smarttrim_jax.configuration import field_types
from smarttrim_jax.errors import SmartTrimError
from smarttrim_jax.options import from_text
from smarttrim_jax.processes import Timeouts, joined
from smarttrim_jax.registry import import_plugin
from smarttrim_jax.version import __version__

INTERRUPTED = 130  # 128 + SIGINT
CLOSED_PIPE = 141  # 128 + SIGPIPE

DISTRIBUTED = define(
    "distributed",
    Literal["auto", "on", "off"],
    "auto",
    "Whether this is one of several processes of one run; auto asks the environment (jax, Slurm, TPU pod).",
)
CONNECT_TIMEOUT = define(
    "connect_timeout",
    field_types(Timeouts)["connect"],
    Timeouts.connect,
    "Seconds until all processes must have come.",
)
HEARTBEAT_TIMEOUT = define(
    "heartbeat_timeout",
    field_types(Timeouts)["heartbeat"],
    Timeouts.heartbeat,
    "Seconds without a sign of life after which a process counts as lost and ends the others.",
)
AFTER_PLUGINS: list[Callable[[], None]] = []
"""Functions to call after plugins are imported and before flags are parsed; they define flags for new keys."""

define(
    "plugins",
    tuple[str, ...],
    (),
    "Modules of your own to import first, by dotted name; they register backbones, data sets, policies and metrics.",
)


def run_command(
    main: Callable[[], None],
    required: tuple[str, ...],
    shared: bool = False,
    keeps_programs: bool = True,
    more_help: Callable[[], Iterable[str]] = tuple,
) -> None:
    """Parses the flags and runs a command; an input error is one line on standard error and exit status 1.

    A command's file is run by `python -m`, or its `run` is called by a console script. Both find the modules of the
    working folder, so that `--plugins` can name them.

    Args:
        main: Function of the command, in the file whose docstring is its page of `--help`.
        required: Names of flags that must be given.
        shared: Whether all processes of a run work on the command together; otherwise only process 0 does.
        keeps_programs: Whether compiled programs are kept for later starts; not by commands that time compilation.
        more_help: Returns further lines for the page of `--help`.
    """
    logging.set_verbosity(logging.WARNING)  # Orbax would log every file that it writes.
    command = sys.modules[main.__module__]
    find_modules_here(command.__name__)

    def parse(arguments: list[str]) -> list[str]:
        """Imports plugins, then parses flags or prints the page of `--help`.

        Args:
            arguments: The command line, the program first.

        Returns:
            A list that holds the program only.
        """
        words = [word for word in arguments if word not in help_page.WORDS]
        wants_help = len(words) < len(arguments)
        import_plugins(words)
        rest = parsing.parse(words, () if wants_help else required)
        if wants_help:
            print("\n".join(help_page.page(command.__doc__ or "", more_help())))
            _flush()
            sys.exit(0)
        return rest

    def run(_: list[str]) -> None:
        kept = keep_compiled_programs() if keeps_programs else None
        are_first = kept is not None and not any(kept.iterdir())
        timeouts = Timeouts(CONNECT_TIMEOUT.value, HEARTBEAT_TIMEOUT.value)
        with joined(str(DISTRIBUTED.value), timeouts) as process:
            if shared or process == 0:
                main()
        if kept is not None and are_first and any(kept.iterdir()):
            print(f"compiled programs are kept in {kept}; JAX_COMPILATION_CACHE_DIR names another", file=sys.stderr)
        _flush()

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # "?" stands for what a terminal cannot show.
    with errors_as_sentences():
        app.run(run, flags_parser=parse)


def find_modules_here(command: str) -> None:
    """Lets Python find the modules of the working folder, as `python -m` does, where a console script was called.

    Args:
        command: `__name__` of the command's module.
    """
    if command != "__main__" and not sys.flags.safe_path:
        sys.path.insert(0, os.getcwd())


def import_plugins(words: list[str]) -> None:
    """Imports what `--plugins` names before any flag is parsed, since plugins bring keys of their own.

    Args:
        words: Words of a command line.

    Raises:
        ConfigError: A module cannot be imported.
    """
    for word, following in itertools.pairwise([*words, ""]):
        flag, equals, value = word.partition("=")
        if flag.lstrip("-") == "plugins":
            for module_name in from_text(tuple[str, ...], value if equals else following):
                import_plugin(str(module_name))
    for define_flags in AFTER_PLUGINS:
        define_flags()


@contextlib.contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Context that ends the process on an error: with one sentence for faults of the input or the machine.

    Bugs of this library are reported with their traceback.

    Yields:
        Nothing.
    """
    try:
        yield
    except SmartTrimError as error:
        _end(f"error: {error}")
    except KeyboardInterrupt:
        _end("stopped by Ctrl-C", INTERRUPTED)
    except BrokenPipeError:
        if not _nobody_reads():
            _end(_bug())
        _end("", CLOSED_PIPE)
    except MemoryError:
        _end("error: this machine's memory is full; choose a smaller batch or model")
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        if error.filename is not None:
            _end(f"error: {reason}: '{error.filename}'")
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        _end(f"error: {reason}" + ("; make room where standard output goes" if is_full else ""))
    except jax.errors.JaxRuntimeError as error:
        if not str(error).startswith("RESOURCE_EXHAUSTED"):
            _end(_bug())
        _end(f"error: the device's memory is full ({str(error).splitlines()[0]}); choose a smaller batch or model")
    except Exception:
        _end(_bug())


def _bug() -> str:
    traceback.print_exc()
    return (
        f"error: this is a fault of smarttrim_jax {__version__}, not of your input; please report it with the lines "
        "above and the command"
    )


def _end(sentence: str, status: int = 1) -> NoReturn:
    with contextlib.suppress(OSError):  # Standard error may be closed.
        if sentence:
            print(sentence, file=sys.stderr, flush=True)
    try:
        _flush()
    except OSError:
        # At exit the interpreter would try to write the rest again, and report a second error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


def _flush() -> None:
    """Writes what was printed, so that an error of writing occurs here; a process may have no standard output."""
    if sys.stdout is not None:
        sys.stdout.flush()


def _nobody_reads() -> bool:
    """Tells whether standard output is a pipe whose reader has ended, for example `head`; other pipes break too."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return bool(poll.poll(0))
    except (AttributeError, OSError):  # This system has no poll, or the output is no file.
        return False
