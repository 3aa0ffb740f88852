"""The exceptions a user can meet. Each is one line: what was given, what was expected, what to do.

The command line prints that line without a traceback and ends with the exception's `exit_code`. All codes are listed in
docs/reliability.md. 1 is none of them: with it Python ends after a traceback, which is a fault of minisqx itself.
"""


class MinisqxError(Exception):
    """The family's root: anything that `minisqx` refuses. What is raised is always one of the classes below."""

    exit_code = 9


class OptionError(MinisqxError, ValueError):
    """An impossible option or argument: width 0, blocks of the wrong length, batch 0."""

    exit_code = 2


class DataError(MinisqxError, ValueError):
    """A data set that is missing, damaged or not what it should be."""

    exit_code = 3


class ImageError(MinisqxError, ValueError):
    """An image that can't be read, or that is empty or far too large."""

    exit_code = 4


class CheckpointError(MinisqxError, ValueError):
    """A weights file that is missing, damaged, or made for another network."""

    exit_code = 5


class TrainingError(MinisqxError, RuntimeError):
    """A training run that can't go on: the loss is not finite, or the run folder can't be used."""

    exit_code = 6


class MissingExtraError(MinisqxError, ImportError):
    """Something that needs an optional package which is not installed."""

    exit_code = 7


class ReproducibilityError(MinisqxError, RuntimeError):
    """Trainings that should have the same bits differ: `minisqx train --check-reproducible` found it."""

    exit_code = 10
