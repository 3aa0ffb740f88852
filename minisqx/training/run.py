"""`train` and `resume`: from `TrainingOptions` to a finished run folder; and the command `train`.

The results of a run depend on its options and its data alone, not on the number of threads or on how often it was stopped and
resumed. Numba and other large packages are imported only after the options are checked and the number of threads is set.
"""

import functools
import hashlib
import os
import shlex
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from minisqx.checks import is_whole, require
from minisqx.errors import DataError, OptionError, TrainingError
from minisqx.machine.interrupt import Stopped, StopRequest, exception_of
from minisqx.machine.ranks import ALONE, Ranks
from minisqx.machine.threads import thread_count, use_threads
from minisqx.spec import zoo
from minisqx.training.callbacks import Callback
from minisqx.training.option_checks import MAX_EPOCHS
from minisqx.training.options import RESUMED_OPTIONS, TrainingOptions, add_arguments, given_options
from minisqx.training.progress import Terminal
from minisqx.training.result import TrainingResult

__all__ = ["TrainingOptions", "TrainingResult", "add_arguments", "resume", "run", "train"]

Say = Callable[[str], object]


def train(
    options: TrainingOptions,
    say: Say = print,
    callbacks: Sequence[Callback] = (),
    screen: Terminal | None = None,
    ranks: Ranks = ALONE,
) -> TrainingResult:
    """Trains a new network to the planned end. say: called with each line of the report. callbacks, screen: as in `Trainer`.

    ranks: the processes that train it together, of which the first one reports and writes (`minisqx.mpi`).

    Ctrl-C saves the run after the current batch and raises KeyboardInterrupt; SIGTERM and SIGHUP save it and raise SystemExit.
    Before the first batch, and at the second signal, the exception is raised at once. If `say` raises OSError, the run is saved
    and the error raised again.
    Raises DataError for invalid data, OptionError for options that don't fit the data, TrainingError if the loss is not finite or
    the run folder can't be written.
    """
    with _stoppable():
        say = say if ranks.is_first else _nothing
        _use_threads(options, say, ranks)
        from minisqx.training.data import open_training_data
        from minisqx.training.run_folder import OthersFolder, RunFolder
        from minisqx.training.trainer import Trainer

        command = options.command()
        options = _absolute(options)
        from minisqx.training.distillation import load_teacher
        from minisqx.training.transfer import load

        initial, teacher = None if options.init is None else load(options.init), load_teacher(options.distill)
        if ranks.is_first:
            created = RunFolder.create(options.out, options.network().name)
            ranks.from_first(lambda: created.path)
        else:
            created = OthersFolder(ranks.from_first(Path))
        with created as folder:
            try:
                images = ranks.one_by_host(lambda: open_training_data(options, say, initial))
                trainer = Trainer(options, images, folder, command, say, callbacks, screen, ranks, teacher)
                if initial is not None:
                    trainer.begin_with(initial)
                _check_same(trainer, ranks)
                folder.write_config(trainer.config())
                trainer.save()
            except BaseException:
                folder.remove()
                raise
            return _run(trainer, say)


def resume(
    run_folder: str | Path,
    say: Say = print,
    data: str | None = None,
    threads: int | None = None,
    distill: str | None = None,
    extend: int | None = None,
    callbacks: Sequence[Callback] = (),
    screen: Terminal | None = None,
    ranks: Ranks = ALONE,
) -> TrainingResult:
    """Continues a stopped run to its planned end, with the results that an uninterrupted run would have had.

    data, distill: the new place of the data, or of the teacher, if it was moved. threads: None: as before. extend: lengthens a
    finished run by this many epochs; its schedule begins anew over them, so the result is that of a run that was planned with
    this restart. callbacks, screen: as in `Trainer`. ranks: as of `train`; their number may be another.
    Raises TrainingError if `run_folder` is not a run folder, another process trains in it, or the data has changed; OptionError
    if a run that is not finished is to be extended; CheckpointError if both last.h5 and previous.h5 are damaged; and the errors
    of `train`.
    """
    with _stoppable():
        from minisqx.training.run_folder import OthersFolder, RunFolder

        say = say if ranks.is_first else _nothing
        with RunFolder.open(run_folder) if ranks.is_first else OthersFolder(Path(run_folder)) as folder:
            folder.remove_leftovers()
            config = ranks.from_first(folder.read_config)
            options = _read_options(folder, config)
            given: dict[str, Any] = {"data": data, "threads": threads, "distill": distill}
            options = _absolute(replace(options, **{name: value for name, value in given.items() if value is not None}))
            _use_threads(options, say, ranks)
            from minisqx.report.content import is_over
            from minisqx.training.data import open_training_data
            from minisqx.training.run_state import load_run
            from minisqx.training.trainer import Trainer

            checkpoint, state = ranks.from_first(lambda: load_run(folder, say))
            ended = is_over(options.to_dict(), state.history)
            if extend is not None:
                options = _extended(options, extend, state.epoch, ended)
            elif ended:
                # The run may have failed as it wrote history.csv, after last.h5.
                folder.write_history(state.history)
                epochs = f"{state.epoch} epochs of {options.epochs}"
                say(f"the run {str(folder.path)!r} is complete, {epochs}: there is nothing to resume")
                return TrainingResult(folder.path, state.history, state.best_epoch)
            from minisqx.training.distillation import load_teacher

            teacher = load_teacher(options.distill)
            try:
                described = None if options.init is None else checkpoint
                images = ranks.one_by_host(lambda: open_training_data(options, say, described))
            except DataError as error:
                if data is not None or options.data is None:
                    raise
                # Any DataError may mean that the data moved: an unmounted disk, for example, leaves an empty folder.
                raise DataError(
                    f"{error}; if the data of this run was moved, give its new place with --data (in Python: data=)"
                ) from error
            command = str(config.get("command", "")) if extend is None else options.command()
            trainer = Trainer(options, images, folder, command, say, callbacks, screen, ranks, teacher)
            trainer.restore(checkpoint, state)
            _check_teacher(config, trainer.config())
            _check_same(trainer, ranks)
            _warn_of_another_machine(config, trainer.config(), say)
            if extend is not None or distill is not None:
                folder.write_config(trainer.config())
            trainer.save()
            return _run(trainer, say)


def _absolute(options: TrainingOptions) -> TrainingOptions:
    """The options with absolute paths of data and teacher: the run may be resumed from another working directory."""
    paths = {"data": options.data, "distill": options.distill if options.distill not in zoo.weights() else None}
    found: dict[str, Any] = {
        name: os.path.abspath(path) for name, path in paths.items() if path is not None and os.path.exists(path)
    }
    return replace(options, **found)


def _extended(options: TrainingOptions, epochs: int, done: int, ended: bool) -> TrainingOptions:
    """The options of a run with so many epochs more."""
    if not ended:
        raise OptionError(
            f"extend {epochs}: the run has {done} of its {options.epochs} epochs; expected a finished run: resume it without"
            " --extend"
        )
    require(is_whole(epochs, 1, MAX_EPOCHS - done), "extend", epochs, f"epochs from 1 to {MAX_EPOCHS - done}")
    return replace(options, epochs=done + epochs, restarts=(*(options.restarts or ()), done))


@contextmanager
def _stoppable() -> Iterator[None]:
    """Unwinds the block at a signal, and then raises the exception of that signal."""
    try:
        with StopRequest(immediate=True):
            yield
    except Stopped as stopped:
        if isinstance(stopped.cause, OSError):
            raise stopped.cause from None
        raise exception_of(stopped.cause) from None


def _read_options(folder, config: dict) -> TrainingOptions:
    try:
        return TrainingOptions.from_dict(config["options"])
    except (OptionError, TypeError, OverflowError) as error:
        raise TrainingError(
            f"{str(folder.config)!r} was changed or damaged ({error}): restore the file or start a new run"
        ) from None


def _check_teacher(before: dict, now: dict) -> None:
    """Raises TrainingError if the run began with another teacher, or without one."""
    old, new = (config.get("teacher") for config in (before, now))
    if new and not old:
        raise TrainingError(
            f"distill {now['options']['distill']!r}: the run began without a teacher: resume it without --distill"
        )
    if (old and old.get("sha256")) != (new and new["sha256"]):
        raise TrainingError(
            f"distill {now['options']['distill']!r} is not the teacher that the run began with: put that one back, or start"
            " a new run"
        )


def _warn_of_another_machine(before: dict, now: dict, say: Say) -> None:
    """Reports if the versions or the CPU, on which the bits of the results depend, have changed since the start of the run."""
    old, new = _machine(before), _machine(now)
    changes = [f"{name} {str(old.get(name))[:40]} (now {new[name]})" for name in new if old.get(name) != new[name]]
    if changes:
        say(f"the run began with {', '.join(changes)}: results may differ in some bits from those of an uninterrupted run")


def _machine(config: dict) -> dict:
    versions = config.get("versions")
    return {**(versions if isinstance(versions, dict) else {}), "CPU": config.get("cpu")}


def _check_same(trainer, ranks: Ranks) -> None:
    """Raises OptionError unless all ranks have the options, data, weights, versions and CPU of the first one."""
    config, places = trainer.config(), (*RESUMED_OPTIONS, "out")
    options = {f"--{name.replace('_', '-')}": value for name, value in config["options"].items() if name not in places}
    weights = hashlib.sha256(trainer.network.flat_parameters.tobytes()).hexdigest()
    teacher = str(config["teacher"] and config["teacher"]["sha256"][:16])
    mine = {**options, "teacher": teacher, "data": config["data"]["sha256"][:16], "weights": weights[:16], **_machine(config)}
    first, *others = ranks.everyones(mine)
    for number, other in enumerate(others, start=1):
        for name, value in first.items():
            if other.get(name) != value:
                raise OptionError(
                    f"rank {number} has {name} {other.get(name)}, rank 0 has {value}: expected the same on all ranks, since"
                    " otherwise they would compute other bits"
                )


def check_reproducible(options: TrainingOptions, say: Say = print) -> None:
    """Checks that the first batches of a run give the same bits every time; see `reproducible.check`."""
    with _stoppable():
        _use_threads(options, say, ALONE)
        from minisqx.training.reproducible import check

        check(options, say)


def _nothing(line: str) -> None:
    """What ranks after the first one say."""


def _use_threads(options: TrainingOptions, say: Say, ranks: Ranks) -> None:
    count, source = thread_count(options.threads, ranks.on_host)
    use_threads(count, source)
    say(f"threads: {count} ({source})" + (f", on each of {ranks.count} ranks" if ranks.count > 1 else ""))


def _run(trainer, say: Say) -> TrainingResult:
    folder = trainer.folder
    try:
        trainer.run()
    except Stopped:
        # A launcher may kill the others as soon as one ends.
        trainer.ranks.wait()
        # If the reason is that `say` failed, the run is saved all the same.
        with suppress(OSError):
            say(f"stopped and saved; to continue: minisqx train --resume {shlex.quote(str(folder.path))}")
        raise
    result = TrainingResult(folder.path, trainer.state.history, trainer.state.best_epoch)
    say(f"{result.outcome}, in {str(folder.path)!r}")
    return result


def run(args) -> int:
    """Runs the command `train`; args: parsed by a parser with `add_arguments`. Returns the exit code."""
    try:
        if args.distributed:
            from minisqx.mpi import ranks_of_mpi

            with ranks_of_mpi() as ranks:
                _run_command(args, ranks)
        else:
            _run_command(args, ALONE)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def _run_command(args, ranks: Ranks) -> None:
    say, given = functools.partial(print, flush=True), given_options(args)
    if args.check_reproducible:
        if args.resume is not None or args.distributed:
            other = "--resume" if args.resume is not None else "--distributed"
            raise OptionError(
                f"--check-reproducible with {other}: expected one of the two; the check needs the options of a new run"
            )
        check_reproducible(TrainingOptions(**given), say)
    elif args.resume is None:
        if args.extend is not None:
            raise OptionError(f"--extend {args.extend} without --resume: expected both, to train a finished run further")
        train(TrainingOptions(**given), say, ranks=ranks)
    else:
        fixed = ["--" + name.replace("_", "-") for name in given if name not in RESUMED_OPTIONS]
        if fixed:
            raise OptionError(
                f"{', '.join(fixed)} with --resume: expected only --data, --distill, --threads and --extend;"
                " the other options of a run can't change, so start a new run"
            )
        resume(args.resume, say, **given, extend=args.extend, ranks=ranks)
