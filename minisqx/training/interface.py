"""`minisqx.train`: a training run in Python, with the options of the command line."""

import argparse
import difflib
import functools
import inspect
import os
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from minisqx.errors import OptionError
from minisqx.training import run
from minisqx.training.callbacks import functions_of
from minisqx.training.notebook import screen
from minisqx.training.options import RESUMED_OPTIONS, TrainingOptions, add_arguments
from minisqx.training.result import TrainingResult


def train(
    *,
    resume: str | os.PathLike | None = None,
    extend: int | None = None,
    callbacks: Sequence = (),
    say: Callable[[str], object] = print,
    **options: Any,
) -> TrainingResult:
    """Trains a network to the planned end: `minisqx train` as a function, with the same options under the same names.

        run = minisqx.train(data="photos", width=0.2, epochs=30)
        run.history, run.model, run.folder, run.report

    resume: the folder of a stopped run, to continue it; only `data` and `threads` may be given with it, and `extend`: by how many
        epochs to lengthen a finished run.
    callbacks: called after each epoch with its row of the history, a dictionary: functions, or objects with a method
        `on_epoch_end`. An exception that one raises ends the run, which is saved by then and can be resumed.
    say: called with each line that the command would print; `lambda line: None` for silence.

    In a notebook, a picture of the curves grows while the run goes on. An interrupt of the kernel is a Ctrl-C: it saves the run
    after the current batch and raises KeyboardInterrupt.

    Raises OptionError for unknown or invalid options, and the errors of `minisqx.errors` that the command reports.
    """
    functions = functions_of(callbacks)
    known = [field.name for field in fields(TrainingOptions)]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"{near[0]!r}" if near else "one of " + ", ".join(known)
            raise OptionError(f"option {name!r}: expected {hint}; help(minisqx.train) describes each")
    if resume is None:
        if extend is not None:
            raise OptionError(
                f"extend {extend!r} without resume: expected the folder of the finished run, as in resume='runs/mine'"
            )
        return run.train(TrainingOptions(**options), say, functions, screen())
    if fixed := [name for name in options if name not in RESUMED_OPTIONS]:
        raise OptionError(
            f"{', '.join(fixed)} beside resume: expected only {', '.join(RESUMED_OPTIONS)} and extend;"
            " the other options of a run can't change, so start a new run"
        )
    return run.resume(os.fspath(resume), say, extend=extend, callbacks=functions, screen=screen(), **options)


def _describe() -> None:
    """Gives `train` the signature and the description of every option, for help() and for editors."""
    own = inspect.signature(train)
    kept = [each for each in own.parameters.values() if each.kind is inspect.Parameter.KEYWORD_ONLY]
    added = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in fields(TrainingOptions)
    ]
    train.__signature__ = own.replace(parameters=[*added, *kept])  # type: ignore[attr-defined]
    wide = functools.partial(argparse.HelpFormatter, width=110, max_help_position=30)
    parser = argparse.ArgumentParser(usage=argparse.SUPPRESS, add_help=False, formatter_class=wide)
    add_arguments(parser)
    # A literal block for the documentation site, which would take the list for its own kind of lists.
    head = (
        "The options, as on the command line; here with `_` for `-`, and shortcut_activation=False for --no-shortcut-activation::"
    )
    described = textwrap.indent(parser.format_help().strip(), "    ")
    train.__doc__ = f"{inspect.cleandoc(train.__doc__ or '')}\n\n{head}\n\n{described}\n"


_describe()
