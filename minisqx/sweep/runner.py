"""Runs the trials of a sweep side by side, on this machine or on the ranks of MPI, and goes on where an earlier call stopped.

A trial is a process of its own, so none can take the others down with it. What is done is read from the trials' run folders: a
finished one is not trained again, and one that was killed goes on from its last checkpoint.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import cast

from minisqx.errors import MissingExtraError, OptionError, TrainingError
from minisqx.machine.folders import replace_file
from minisqx.machine.interrupt import SIGNALS
from minisqx.sweep.grid import Grid, Trial
from minisqx.sweep.results import FAILED, FINISHED, LEFT_OUT, Result, result_of, write_results
from minisqx.training.options import PLACE_OPTIONS

Say = Callable[[str], object]

ATTEMPTS = 2
HOUR = 3600.0
_LONGEST_LINE = 65_536  # bytes of a trial's error that are read
# Exit codes of a trial that was asked to stop and has saved its run.
_STOPPED = {128 + number for number in SIGNALS}
_processes: set[subprocess.Popen] = set()  # of this process's trials


@dataclass(frozen=True)
class Ended:
    """How a trial's process ended. error: its last line on stderr, or nothing. seconds: all that its attempts took."""

    code: int
    error: str
    seconds: float


def run_trial(options: dict, log: str) -> Ended:
    """Trains a trial in a process of its own, and once more if that fails. It runs where an executor has workers.

    options: as `TrainingOptions.to_dict`. log: the file for the lines of the report.
    """
    began, code, error = time.monotonic(), 1, ""
    for _ in range(ATTEMPTS):
        with open(log, "ab") as file:
            command, pipe = [sys.executable, "-m", "minisqx.sweep.trial"], subprocess.PIPE
            process = subprocess.Popen(command, stdin=pipe, stdout=file, stderr=pipe, bufsize=0)
        assert process.stdin is not None and process.stderr is not None
        _processes.add(process)
        with process:
            with suppress(BrokenPipeError):  # it has ended already, and stderr says why
                process.stdin.write(json.dumps(options).encode() + b"\n")
            lines = process.stderr.read()[-_LONGEST_LINE:].decode(errors="replace").strip().splitlines()
        _processes.discard(process)
        code = process.returncode
        if code == 0 or code in _STOPPED:
            break
        error = lines[-1].removeprefix("minisqx: ") if lines else f"it ended with exit code {code}"
    return Ended(code, error if code else "", time.monotonic() - began)


def run(grid: Grid, jobs: int, say: Say, budget: float | None = None) -> list[Result]:
    """Runs all trials that are not finished, `jobs` at a time; returns a result for each, and keeps the files in `grid.out`.

    budget: hours; the cheapest trials come first, and none begins that would probably not be finished by then. None: the dearest
    come first, so that none runs alone at the end. Raises OptionError if `grid.out` has another sweep.
    """
    with ThreadPoolExecutor(jobs) as workers:
        try:
            return run_on(workers, jobs, grid, say, budget)
        except BaseException:
            for process in tuple(_processes):
                process.terminate()  # it saves its run; the pool waits for it
            raise


@contextmanager
def workers_of_mpi() -> Iterator[tuple[Executor, int] | None]:
    """On the first rank the other ranks as workers, and their number; on the others None, after their work is done.

    Raises MissingExtraError without mpi4py, OptionError for one rank alone.
    """
    try:
        from mpi4py import MPI
        from mpi4py.futures import MPICommExecutor
    except (ImportError, RuntimeError) as error:
        raise MissingExtraError(f"MPI can't be loaded ({error}): pip install 'minisqx[mpi]'") from None
    if MPI.COMM_WORLD.size < 2:
        raise OptionError("--distributed with one rank: start the sweep with mpiexec -n 5, say, for four trials at a time")
    with MPICommExecutor(MPI.COMM_WORLD, root=0) as executor:
        yield None if executor is None else (cast(Executor, executor), MPI.COMM_WORLD.size - 1)


def run_on(executor: Executor, workers: int, grid: Grid, say: Say, budget: float | None = None) -> list[Result]:
    """`run` on an executor with this many workers."""
    _claim(grid)
    results = {trial.name: result_of(trial) for trial in grid.trials}
    done = sum(result.status == FINISHED for result in results.values())
    say(f"sweep: {len(results)} trials, {workers} at a time, {done} of them finished before; in {str(grid.out)!r}")
    waiting = sorted(
        (trial for trial in grid.trials if results[trial.name].status != FINISHED),
        key=lambda trial: trial.cost if budget is not None else -trial.cost,
    )
    end = None if budget is None else time.monotonic() + budget * HOUR
    speed = _Speed()
    running: dict[Future, Trial] = {}
    while waiting or running:
        while waiting and len(running) < workers:
            trial = waiting.pop(0)
            if end is not None and time.monotonic() + speed.seconds(trial) > end:
                results[trial.name] = Result(trial, LEFT_OUT, error="the budget is used up")
                continue
            log = grid.out / "logs" / f"{trial.name}.log"
            running[executor.submit(run_trial, trial.options.to_dict(), str(log))] = trial
        for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
            trial, ended = running.pop(future), future.result()
            if ended.code in _STOPPED:
                raise KeyboardInterrupt
            result = result_of(trial) if ended.code == 0 else Result(trial, FAILED, error=ended.error)
            if ended.code == 0:
                speed.note(trial, ended.seconds)
            results[trial.name] = result
            say(f"{sum(r.status != '' for r in results.values())} of {len(results)}: {result.line()}")
            write_results(grid.out, list(results.values()))
    write_results(grid.out, list(results.values()))
    return list(results.values())


class _Speed:
    """The time of a trial as those before it suggest."""

    def __init__(self) -> None:
        self._seconds, self._cost = 0.0, 0

    def note(self, trial: Trial, seconds: float) -> None:
        self._seconds, self._cost = self._seconds + seconds, self._cost + trial.cost

    def seconds(self, trial: Trial) -> float:
        return self._seconds / self._cost * trial.cost if self._cost else 0.0


def _claim(grid: Grid) -> None:
    """Creates the sweep's folders and sweep.json, or compares that of an earlier call."""
    places = (*PLACE_OPTIONS, "out")
    content = {
        "values": {name: list(values) for name, values in grid.values.items()},
        "seeds": grid.seeds,
        "options": {name: value for name, value in grid.common.items() if name not in places},
    }
    text = json.dumps(content, indent=2) + "\n"
    file = grid.out / "sweep.json"
    try:
        for folder in (grid.out / "trials", grid.out / "logs"):
            folder.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            replace_file(file, text.encode())
        elif json.loads(file.read_text()) != json.loads(text):
            raise OptionError(
                f"{str(grid.out)!r} has a sweep of other options ({file.name} lists them): repeat its command to go on, or choose"
                " another --out"
            )
    except (OSError, ValueError) as error:
        if isinstance(error, OptionError):
            raise
        raise TrainingError(f"the folder {str(grid.out)!r} can't be used ({error}): choose another with --out") from None
