"""From the words of a command line to flags; every mistake becomes a sentence that shows what to write instead."""

import difflib
import itertools
import shlex
from collections.abc import Sequence

from absl import flags

from smarttrim_jax.command_line.help_page import own_flags
from smarttrim_jax.errors import CommandLineError

DASHES = "-\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}"  # Text editors replace two hyphens by one of these.


def parse(words: list[str], required: Sequence[str]) -> list[str]:
    """Sets the flags from a command line.

    Args:
        words: The command line, the program first.
        required: Names of flags that must be given.

    Returns:
        A list that holds the program only.

    Raises:
        CommandLineError: A flag or word is unknown, or a flag is missing, is given twice or has a value that it does
            not accept.
    """
    flags.FLAGS.set_gnu_getopt(True)  # Flags may also follow words that are not flags.
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
    """Suggests what may have been meant by an unknown flag."""
    close = _closest(name)
    if close is not None:
        return f"did you mean --{close}?"
    return "this command takes " + ", ".join(f"--{flag}" for flag in own_flags() if not flag.startswith("config."))


def _closest(name: str) -> str | None:
    """Finds the flag with the nearest name: the same name, the same last part, or a few letters of difference."""
    known = own_flags()
    if name in known:
        return name
    # Of several keys with the same last part, the one nearest to the root is suggested.
    deepest_first = sorted(known, key=lambda flag: flag.count("."), reverse=True)
    ends = {flag.rpartition(".")[2]: flag for flag in deepest_first}
    end = name.rpartition(".")[2]
    if end in ends:
        return ends[end]
    close = difflib.get_close_matches(name, known, n=1)
    return close[0] if close else next((ends[match] for match in difflib.get_close_matches(end, ends, n=1)), None)


def _meant(words: list[str], stray: str) -> str:
    """Suggests what may have been meant by a word that is not a flag.

    Args:
        words: The whole command line.
        stray: The word.

    Returns:
        The second half of a sentence.
    """
    name, equals, value = stray.lstrip(DASHES).partition("=")
    close = _closest(name)
    if equals and close is not None:
        return f"did you mean --{close}={shlex.quote(value)}?"
    place = words.index(stray, 1)
    flag, equals, begun = words[place - 1].partition("=")
    if _is_flag(flag) and name:
        if not equals:
            return f"did you mean {flag}={stray}?"
        behind = _until_flag(words[place:])
        return f"a value of several words needs quotes: {flag}={shlex.quote(' '.join([begun, *behind]))}"
    flag = words[max(place - 2, 0)]
    if _is_flag(flag) and name:
        behind = _until_flag(words[place - 1 :])
        return f"a value of several words needs quotes: {flag}={shlex.quote(' '.join(behind))}"
    return "--help shows an example"


def _is_flag(word: str) -> bool:
    return word.startswith("-") and word.lstrip("-") in own_flags()


def _until_flag(words: list[str]) -> list[str]:
    """Words before the next flag."""
    return list(itertools.takewhile(lambda word: not word.startswith("-"), words))
