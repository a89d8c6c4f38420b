"""Flags that take the values of settings: `define("speedup", SpeedUp, None, "...")`, with the same errors."""

from typing import Any

from absl import flags

from smarttrim_jax.configuration import conform
from smarttrim_jax.errors import CommandLineError, ConfigError
from smarttrim_jax.options import from_text, without_rules

flags.disclaim_key_flags()  # A flag belongs to the module that calls `define`, not to this one.


def define(name: str, hint: Any, default: Any, meaning: str) -> flags.FlagHolder[Any]:
    """Defines a flag whose value is of an annotated type.

    Args:
        name: Name of the flag.
        hint: Type of its value, with the rules of `smarttrim_jax.ranges`; lists are written as `1,2` or `[1, 2]`.
        default: Value where the flag is not given; None is accepted for every type.
        meaning: Help text of the flag.

    Returns:
        Holder whose `value` can be read once the command line has been parsed.
    """
    parser = _Parser(name, hint)
    serializer: flags.ArgumentSerializer[Any] = flags.ArgumentSerializer()
    return flags.DEFINE_flag(
        flags.Flag(parser, serializer, name, default, meaning, boolean=without_rules(hint) is bool)
    )


class _Parser(flags.ArgumentParser[Any]):
    """Reads the texts of one flag."""

    def __init__(self, name: str, hint: Any):
        self._name, self._hint = name, hint

    def parse(self, argument: Any) -> Any:
        """Converts a text, or checks a default.

        Args:
            argument: Text of the flag, or its default value.

        Returns:
            The value.

        Raises:
            CommandLineError: The flag does not accept the value.
        """
        value = from_text(self._hint, argument) if isinstance(argument, str) else argument
        try:
            return conform(self._hint, value, f"--{self._name}")
        except ConfigError as error:
            raise CommandLineError(str(error)) from None
