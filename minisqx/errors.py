"""The exceptions that minisqx raises. Each message is one line: what was given, what was expected, what to do.

The command line prints the message without a traceback and exits with the exception's `exit_code`; docs/reliability.md lists all
codes. No exception has code 1: Python exits with it after a traceback, which means a bug in minisqx.
"""


class MinisqxError(Exception):
    """The base class of all errors below; never raised itself."""

    exit_code = 9


class OptionError(MinisqxError, ValueError):
    """An invalid option or argument: width 0, blocks of the wrong length, batch size 0."""

    exit_code = 2


class DataError(MinisqxError, ValueError):
    """A data set that is missing, damaged or of the wrong format."""

    exit_code = 3


class ImageError(MinisqxError, ValueError):
    """An image that can't be read, is empty or is too large."""

    exit_code = 4


class CheckpointError(MinisqxError, ValueError):
    """A checkpoint that is missing, damaged or for another network."""

    exit_code = 5


class TrainingError(MinisqxError, RuntimeError):
    """A training run that can't continue: the loss is not finite, or the run folder is unusable."""

    exit_code = 6


class MissingExtraError(MinisqxError, ImportError):
    """An optional package that is needed but not installed."""

    exit_code = 7


class ReproducibilityError(MinisqxError, RuntimeError):
    """`minisqx train --check-reproducible` found that repeated training runs differ."""

    exit_code = 10
