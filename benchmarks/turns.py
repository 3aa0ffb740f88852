"""Contestants in turns: each has its own process and works only during its turn.

Why processes: a contestant that crashes or runs out of memory doesn't affect the others; each has its own thread pool and
allocator. Why turns: a machine's speed drifts (other tenants, temperature), so contestants are measured within the same second
or two, again and again, and ratios are computed per round. While one works, the others sleep, waiting for a message: OpenMP's
threads spin for some milliseconds after a parallel region and then sleep, long before the next contestant is measured.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection

import numpy as np

from benchmarks.machine import alone

UNMEASURED_STEPS = 2  # at most, at the start of each turn, when the caches hold another contestant's data
WARM_UP_STEPS, WARM_UP_SECONDS = 3, 1.0  # whichever is over first
UNMEASURED_PART = 0.2  # of a turn of calls, for the same reason
MAX_CALLS = 20_000


class ContestantError(Exception):
    """A contestant can't run, or its results are wrong. reason: why, without its name."""

    def __init__(self, reason: str, name: str = "") -> None:
        super().__init__(f"{name}: {reason}" if name else reason)
        self.reason = reason


class Contestant:
    """A process that holds what `build(**arguments)` returns; `build` is a class or function of a module.

    The process starts at once. Its first call waits until it has built, so contestants that are created together start together.
    """

    def __init__(self, name: str, build: Callable, arguments: Mapping[str, object]) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, build, arguments), daemon=True)
        self._process.start()
        self._is_built = False
        theirs.close()

    def ready(self) -> None:
        """Waits until it has built. Raises ContestantError if that failed."""
        if not self._is_built:
            self._answer()
            self._is_built = True

    def call(self, method: str, *arguments: object) -> object:
        """The result of a method of the contestant. Raises ContestantError if it fails or its process dies."""
        self.ready()
        try:
            self._connection.send((method, arguments))
        except OSError as error:
            raise ContestantError("its process has ended", self.name) from error
        return self._answer()

    def _answer(self) -> object:
        try:
            status, value = self._connection.recv()
        except EOFError as error:
            self._process.join()
            raise ContestantError(f"its process died with exit code {self._process.exitcode}", self.name) from error
        if status == "error":
            raise ContestantError(value, self.name)
        return value

    def close(self) -> None:
        """Ends the process."""
        self._connection.close()
        self._process.join(timeout=10)
        if self._process.is_alive():
            self._process.kill()


def _serve(connection: Connection, build: Callable, arguments: Mapping[str, object]) -> None:
    """The process's main function: builds, then answers calls until the connection is closed."""
    try:
        built = build(**arguments)
        answer: object = None
        while True:
            connection.send(("result", answer))
            method, positional = connection.recv()
            answer = getattr(built, method)(*positional)
    except EOFError:
        return
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "")
        connection.send(("error", f"{type(error).__name__}: {reason}"))


class Calls:
    """The base class of contestants whose calls are timed one by one."""

    def call(self) -> np.ndarray:
        """Logits (N, classes)."""
        raise NotImplementedError

    def turn(self, seconds: float) -> np.ndarray:
        """Seconds of each call, in a turn of about `seconds`."""
        found, clock = [], time.perf_counter
        end = clock() + UNMEASURED_PART * seconds
        while True:
            self.call()
            if clock() > end:
                break
        end = clock() + seconds
        while len(found) < MAX_CALLS:
            start = clock()
            self.call()
            now = clock()
            found.append(now - start)
            if now > end:
                break
        return np.array(found)


class Steps:
    """The base class of contestants for `measure`."""

    def step(self) -> None:
        """One unit of work."""
        raise NotImplementedError

    def warm_up(self) -> tuple[float, float]:
        """Seconds of the first step, with all compilation, and of a warm step."""
        first, warm = self.timed(1), []
        while len(warm) < WARM_UP_STEPS and sum(warm) < WARM_UP_SECONDS:
            warm.append(self.timed(1))
        return first, min(warm)

    def timed(self, steps: int) -> float:
        """Seconds of `steps` steps."""
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        return time.perf_counter() - start

    def turn(self, steps: int) -> float:
        """Seconds per step in one turn. A step that takes a turn alone outlasts the caches' change."""
        self.timed(min(UNMEASURED_STEPS, steps - 1))
        return self.timed(steps) / steps


def take_turns(lengths: Mapping[Contestant, float], repeats: int) -> dict[str, list]:
    """What each contestant's `turn(length)` returned in each of so many rounds, by its name."""
    found: dict[str, list] = {contestant.name: [] for contestant in lengths}
    with alone():
        for _ in range(repeats):
            for contestant, length in lengths.items():
                found[contestant.name].append(contestant.call("turn", length))
    return found


def measure(contestants: list[Contestant], repeats: int, seconds: float) -> dict[str, dict[str, object]]:
    """Seconds per step of each contestant by name, in `repeats` rounds of one turn of about `seconds` each.

    A result has `first_step`, `turns` (one per round) and their `median`.
    """
    results: dict[str, dict[str, object]] = {}
    steps = {}
    for contestant in contestants:
        first, warm = contestant.call("warm_up")
        steps[contestant.name] = max(1, round(seconds / warm))
        results[contestant.name] = {"first_step": first}
    turns = take_turns({contestant: steps[contestant.name] for contestant in contestants}, repeats)
    for name, result in results.items():
        result["turns"] = turns[name]
        result["median"] = statistics.median(result["turns"])
    return results


@contextmanager
def busy_process() -> Iterator[None]:
    """Meanwhile a process of the same priority is always busy."""
    process = multiprocessing.get_context("spawn").Process(target=_spin, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


def _spin() -> None:
    while True:
        pass


def ratios(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """Median, lowest and highest of the rounds' ratios."""
    found = [their / our for their, our in zip(theirs, ours)]
    figures = {"median": statistics.median(found), "lowest": min(found), "highest": max(found)}
    return {name: round(value, 3) for name, value in figures.items()}
