"""From the words of a command line to flags; every mistake is a sentence that shows what to write instead."""

import difflib
import shlex
from collections.abc import Sequence

from absl import flags

from smarttrim_jax.command_line.help_page import own_flags
from smarttrim_jax.errors import CommandLineError

DASHES = "-\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}"  # text editors make one of two


def parse(words: list[str], required: Sequence[str]) -> list[str]:
    """Sets the flags.

    Args:
        words: The command line, the program first.
        required: Flags that must be given.

    Returns:
        The program.

    Raises:
        CommandLineError: A flag or word that the command does not know, a flag that is missing, is given twice or has
            a value that it does not accept.
    """
    flags.FLAGS.set_gnu_getopt(True)  # flags behind a word that is none are flags too
    try:
        program, *others = flags.FLAGS(words)
    except flags.UnrecognizedFlagError as error:
        raise CommandLineError(f"unknown flag --{error.flagname}; {_instead(error.flagname)}") from None
    except (flags.Error, ValueError, OSError) as error:
        raise CommandLineError(" ".join(str(error).split())) from None
    if others:
        raise CommandLineError(f"unexpected argument '{others[0]}'; {_meant(words, others[0])}")
    for name, flag in own_flags().items():
        if flag.present > 1 and not isinstance(flag, flags.MultiFlag):
            raise CommandLineError(f"--{name} is given {flag.present} times; give it once")
        if name in required and flag.value is None:
            raise CommandLineError(f"--{name} is missing; --help shows an example")
    return [program]


def _instead(name: str) -> str:
    """What could have been meant by the name of a flag that there is not."""
    known = list(own_flags())
    same_end = [flag for flag in known if flag.rpartition(".")[2] == name.rpartition(".")[2]]
    close = same_end[:1] or difflib.get_close_matches(name, known, n=1) or _close_end(name, known)
    if close:
        return f"did you mean --{close[0]}?"
    return "this command takes " + ", ".join(f"--{flag}" for flag in known if not flag.startswith("config."))


def _close_end(name: str, known: list[str]) -> list[str]:
    """The key whose last part is nearest to that of a key."""
    ends = {flag.rpartition(".")[2]: flag for flag in known}
    return [ends[end] for end in difflib.get_close_matches(name.rpartition(".")[2], ends, n=1)]


def _meant(words: list[str], stray: str) -> str:
    """What could have been meant by a word that is no flag.

    Args:
        words: The whole command line.
        stray: The word.
    """
    known = own_flags()
    name, equals, value = stray.lstrip(DASHES).partition("=")
    if equals and name in known:
        return f"did you mean --{name}={shlex.quote(value)}?"
    place = words.index(stray, 1)
    flag, equals, begun = words[place - 1].partition("=")
    if flag.startswith("-") and flag.lstrip("-") in known:
        if not equals:
            return f"did you mean {flag}={stray}?"
        behind = _until_flag(words[place:])
        return f"a value of several words needs quotes: {flag}={shlex.quote(' '.join([begun, *behind]))}"
    flag = words[max(place - 2, 0)]
    if flag.startswith("-") and flag.lstrip("-") in known:
        behind = _until_flag(words[place - 1 :])
        return f"a value of several words needs quotes: {flag}={shlex.quote(' '.join(behind))}"
    return f"flags begin with two dashes: {_instead(name)}" if equals else "--help shows an example"


def _until_flag(words: list[str]) -> list[str]:
    flag = next((place for place, word in enumerate(words) if word.startswith("-")), len(words))
    return words[:flag]
