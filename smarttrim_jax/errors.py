"""Errors that a user can fix: one sentence that names what is wrong and what to do."""

QUOTED_LENGTH = 200
REASON_LENGTH = 300


class SmartTrimError(Exception):
    """Base of all errors caused by the input; commands print it and exit with status 1."""


class CommandLineError(SmartTrimError):
    """A flag does not exist, is given twice, or has a value that is not accepted."""


class ConfigError(SmartTrimError, ValueError):
    """A setting is unknown, of the wrong type, or out of range."""


class DataError(SmartTrimError, ValueError):
    """A data set, image, text or vocabulary is missing or cannot be read."""


class CheckpointError(SmartTrimError, ValueError):
    """Weights are missing, damaged, or of another model."""


class TrainingError(SmartTrimError, RuntimeError):
    """A run cannot continue: a loss is not finite, or a disk is full."""


def quoted(value: object) -> str:
    """Formats a name or text of unknown origin for an error: in quotation marks, short, and on one line.

    Args:
        value: Any value; its `str` is used.

    Returns:
        The text in quotation marks, cut after `QUOTED_LENGTH` characters, with control characters escaped.
    """
    text = str(value)
    shortened = text if len(text) <= QUOTED_LENGTH else text[: QUOTED_LENGTH - 3] + "..."
    # Unprintable characters (line ends, control characters, lone surrogates) are escaped as in Python's source.
    return "'" + "".join(c if c.isprintable() else repr(c)[1:-1] for c in shortened) + "'"


def reason(error: BaseException) -> str:
    """Extracts from an exception what went wrong, for an error's sentence.

    Args:
        error: Any exception.

    Returns:
        The system's message or the first line of the exception's text, at most `REASON_LENGTH` characters; the name
        of its type if it has no text.
    """
    said = getattr(error, "strerror", None) or str(error)
    first = said.strip().splitlines()[0] if said.strip() else type(error).__name__
    return first[:REASON_LENGTH]
