"""Errors a user can mend: one sentence that names the thing and the fix."""

QUOTED_LENGTH = 200
REASON_LENGTH = 300


class SmartTrimError(Exception):
    """Base of every error that is the input's fault; commands print it and exit with status 1."""


class CommandLineError(SmartTrimError):
    """A flag that there is not, that is given twice, or whose value is not accepted."""


class ConfigError(SmartTrimError, ValueError):
    """A setting that is unknown, of the wrong type, or out of range."""


class DataError(SmartTrimError, ValueError):
    """A data set, image, text or vocabulary that is missing or cannot be read."""


class CheckpointError(SmartTrimError, ValueError):
    """Weights that are missing, damaged, or of another model."""


class TrainingError(SmartTrimError, RuntimeError):
    """A run that cannot go on: a loss that is not finite, a disk that is full."""


def quoted(value: object) -> str:
    """A name or text of unknown origin for an error's sentence: in quotation marks, short, on one line."""
    text = str(value)
    shortened = text if len(text) <= QUOTED_LENGTH else text[: QUOTED_LENGTH - 3] + "..."
    # What cannot be printed (line ends, control characters, half surrogates) is written as in Python's source.
    return "'" + "".join(c if c.isprintable() else repr(c)[1:-1] for c in shortened) + "'"


def reason(error: BaseException) -> str:
    """What went wrong, for an error's sentence: the first line of what a library's error says, or its type."""
    said = getattr(error, "strerror", None) or str(error)
    first = said.strip().splitlines()[0] if said.strip() else type(error).__name__
    return first[:REASON_LENGTH]
