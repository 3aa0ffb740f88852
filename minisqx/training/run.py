"""Training, from `TrainingOptions` to a finished run folder; and the command line's `train`.

A run is a function of its options and its data alone: not of the number of threads, nor of how often it was stopped and resumed.
Nothing heavy is imported before the options are known to be good and the number of threads is set.
"""

import functools
import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from minisqx.errors import DataError, OptionError, TrainingError
from minisqx.machine.interrupt import Stopped, StopRequest, ended_by
from minisqx.machine.threads import thread_count, use_threads
from minisqx.training.options import PLACE_OPTIONS, TrainingOptions, add_arguments, given_options

__all__ = ["TrainingOptions", "TrainingResult", "add_arguments", "resume", "run", "train"]

Say = Callable[[str], object]


@dataclass(frozen=True)
class TrainingResult:
    """A finished run. folder: its files. history: the rows of history.csv. best_epoch: the one that best.h5 holds."""

    folder: Path
    history: list[dict]
    best_epoch: int


def train(options: TrainingOptions, say: Say = print) -> TrainingResult:
    """Trains a new network to the planned end; `say` takes the lines that report the run.

    Ctrl-C (SIGTERM, SIGHUP) saves the run after the current batch, then raises KeyboardInterrupt (SystemExit); before the first
    batch, and where it is the second, it does so at once. The same becomes of a run whose `say` raises OSError.
    Raises DataError for bad data, OptionError for options that don't fit it, TrainingError if the loss is not finite or the
    run folder can't be written.
    """
    with _stoppable():
        _use_threads(options, say)
        from minisqx.training.data import open_training_data
        from minisqx.training.run_folder import RunFolder
        from minisqx.training.trainer import Trainer

        command = options.command()
        if options.data is not None and Path(options.data).exists():
            # A run may be resumed from another working folder.
            options = replace(options, data=str(Path(options.data).absolute()))
        with RunFolder.create(options.out, options.network().name) as folder:
            try:
                trainer = Trainer(options, open_training_data(options, say), folder, command, say)
                folder.write_config(trainer.config())
                trainer.save()
            except BaseException:
                folder.remove()
                raise
            return _go(trainer, say)


def resume(run_folder: str | Path, say: Say = print, data: str | None = None, threads: int | None = None) -> TrainingResult:
    """Goes on with a stopped run to its planned end, as `train` would have.

    data: where its data lies now, if it was moved. threads: if it should run on another number of them.
    Raises TrainingError if `run_folder` is no run folder, another process trains in it, or the data has changed, CheckpointError
    if both last.h5 and previous.h5 are damaged. Else as `train`.
    """
    with _stoppable():
        from minisqx.training.run_folder import RunFolder

        with RunFolder.open(run_folder) as folder:
            folder.sweep()
            config = folder.read_config()
            options = _options(folder, config)
            options = replace(
                options, data=options.data if data is None else data, threads=options.threads if threads is None else threads
            )
            _use_threads(options, say)
            from minisqx.training.data import open_training_data
            from minisqx.training.run_state import load_run
            from minisqx.training.trainer import Trainer

            checkpoint, state = load_run(folder, say)
            if state.epoch >= options.epochs:
                # The last thing that a run writes may be what it failed at.
                folder.write_history(state.history)
                epochs = f"{state.epoch} epochs of {options.epochs}"
                say(f"the run {str(folder.path)!r} is complete, {epochs}: there is nothing to resume")
                return TrainingResult(folder.path, state.history, state.best_epoch)
            try:
                images = open_training_data(options, say)
            except DataError as error:
                if data is not None or options.data is None:
                    raise
                # An empty folder, for one, is what is left where a disk was.
                raise DataError(
                    f"{error}; if the data of this run lies elsewhere now, name its place with --data (in Python: data=)"
                ) from error
            trainer = Trainer(options, images, folder, str(config.get("command", "")), say)
            trainer.restore(checkpoint, state)
            _warn_of_another_machine(config, trainer.config(), say)
            trainer.save()
            return _go(trainer, say)


@contextmanager
def _stoppable() -> Iterator[None]:
    """Within it, a signal ends what is going on at once and in order; the process then ends as the signal would have ended it."""
    try:
        with StopRequest(at_once=True):
            yield
    except Stopped as stopped:
        if isinstance(stopped.wish, OSError):
            raise stopped.wish from None
        raise ended_by(stopped.wish) from None


def _options(folder, config: dict) -> TrainingOptions:
    try:
        return TrainingOptions.from_dict(config["options"])
    except (OptionError, TypeError, OverflowError) as error:
        raise TrainingError(
            f"{str(folder.config)!r} is not as minisqx wrote it ({error}): restore the file or start a new run"
        ) from None


def _warn_of_another_machine(before: dict, now: dict, say: Say) -> None:
    """Says in a line if what decides the bits of a result is not what the run began with."""
    old, new = _machine(before), _machine(now)
    changes = [f"{name} {str(old.get(name))[:40]} (now {new[name]})" for name in new if old.get(name) != new[name]]
    if changes:
        say(f"the run began with {', '.join(changes)}: it goes on, but perhaps not to the bits of a run that never stopped")


def _machine(config: dict) -> dict:
    versions = config.get("versions")
    return {**(versions if isinstance(versions, dict) else {}), "CPU": config.get("cpu")}


def check_reproducible(options: TrainingOptions, say: Say = print) -> None:
    """Shows that the first batches of a run have the same bits however they are trained; see `reproducible`."""
    with _stoppable():
        _use_threads(options, say)
        from minisqx.training.reproducible import check

        check(options, say)


def _use_threads(options: TrainingOptions, say: Say) -> None:
    count, source = thread_count(options.threads)
    use_threads(count, source)
    say(f"threads: {count} ({source})")


def _go(trainer, say: Say) -> TrainingResult:
    folder = trainer.folder
    try:
        trainer.run()
    except Stopped:
        # Where nobody reads any more, it is saved all the same.
        with suppress(OSError):
            say(f"stopped and saved; to go on: minisqx train --resume {shlex.quote(str(folder.path))}")
        raise
    result = TrainingResult(folder.path, trainer.state.history, trainer.state.best_epoch)
    say(_outcome(result))
    return result


def _outcome(result: TrainingResult) -> str:
    last, best = result.history[-1], result.history[result.best_epoch - 1]
    line = f"test accuracy {100 * last['test_accuracy']:.2f} % after the last epoch (last.h5)"
    if best["validation_accuracy"] is not None:
        line += f", {100 * best['test_accuracy']:.2f} % after epoch {best['epoch']}, the best on the validation images (best.h5)"
    return f"{line}, in {str(result.folder)!r}"


def run(args) -> int:
    """The command `train`: `args` come from a parser that `add_arguments` filled. Returns the exit code."""
    say = functools.partial(print, flush=True)
    given = given_options(args)
    try:
        if args.check_reproducible:
            if args.resume is not None:
                raise OptionError("--check-reproducible with --resume: expected the options of a new run, or only one of the two")
            check_reproducible(TrainingOptions(**given), say)
        elif args.resume is None:
            train(TrainingOptions(**given), say)
        else:
            fixed = ["--" + name.replace("_", "-") for name in given if name not in PLACE_OPTIONS]
            if fixed:
                raise OptionError(
                    f"{', '.join(fixed)} with --resume: expected nothing but --data and --threads beside it;"
                    " a run keeps its options, so start a new one for others"
                )
            resume(args.resume, say, **given)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0
