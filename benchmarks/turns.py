"""Contestants in turns: each has its own process and works only during its turn.

Why processes: a contestant that crashes or runs out of memory doesn't affect the others; each has its own thread pool and
allocator. Why turns: a machine's speed drifts (other tenants, temperature), so contestants are measured within the same second
or two, again and again, and ratios are computed per round. While one works, the others sleep, waiting for a message: OpenMP's
threads spin for some milliseconds after a parallel region and then sleep, long before the next contestant is measured.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection

from benchmarks.machine import alone

UNMEASURED_STEPS = 2  # at the start of each turn, when the caches hold another contestant's data
WARM_UP_STEPS = 3


class ContestantError(Exception):
    """A contestant can't run, or its results are wrong."""


class Contestant:
    """A process that holds what `build(**arguments)` returns; `build` is a class or function of a module."""

    def __init__(self, name: str, build: Callable, arguments: Mapping[str, object]) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, build, arguments), daemon=True)
        self._process.start()
        theirs.close()
        self._answer()

    def call(self, method: str, *arguments: object) -> object:
        """The result of a method of the contestant. Raises ContestantError if it fails or its process dies."""
        try:
            self._connection.send((method, arguments))
        except OSError as error:
            raise ContestantError(f"{self.name}: its process has ended") from error
        return self._answer()

    def _answer(self) -> object:
        try:
            status, value = self._connection.recv()
        except EOFError as error:
            self._process.join()
            raise ContestantError(f"{self.name}: its process died with exit code {self._process.exitcode}") from error
        if status == "error":
            raise ContestantError(f"{self.name}: {value}")
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


class Steps:
    """The base class of contestants for `measure`."""

    def step(self) -> None:
        """One unit of work."""
        raise NotImplementedError

    def warm_up(self) -> tuple[float, float]:
        """Seconds of the first step, with all compilation, and of a warm step."""
        seconds = [self.timed(1) for _ in range(1 + WARM_UP_STEPS)]
        return seconds[0], min(seconds[1:])

    def timed(self, steps: int) -> float:
        """Seconds of `steps` steps."""
        start = time.perf_counter()
        for _ in range(steps):
            self.step()
        return time.perf_counter() - start

    def turn(self, steps: int) -> float:
        """Seconds per step in one turn."""
        self.timed(UNMEASURED_STEPS)
        return self.timed(steps) / steps


def measure(contestants: list[Contestant], repeats: int, seconds: float) -> dict[str, dict[str, object]]:
    """Seconds per step of each contestant by name, in `repeats` rounds of one turn of about `seconds` each.

    A result has `first_step`, `turns` (one per round) and their `median`.
    """
    results: dict[str, dict[str, object]] = {}
    steps = {}
    for contestant in contestants:
        first, warm = contestant.call("warm_up")
        steps[contestant.name] = max(1, round(seconds / warm))
        results[contestant.name] = {"first_step": first, "turns": []}
    with alone():
        for _ in range(repeats):
            for contestant in contestants:
                results[contestant.name]["turns"].append(contestant.call("turn", steps[contestant.name]))
    for result in results.values():
        result["median"] = statistics.median(result["turns"])
    return results
