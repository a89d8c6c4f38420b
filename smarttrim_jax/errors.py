"""Errors a user can mend: one sentence that names the thing and the fix."""


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
