"""Tasks: kernels whose work is shared among threads, and run in a row without Python between them.

    forward = Task(fold_weight, Shared(convolve, pieces), normalise)
    Program([forward.bind(arguments), ...]).run()

A task is a row of stages. The pieces of a `Shared` stage are computed by any thread, in any order, also at the same time. When
all are done, the next stage begins. `team.py` has the threads.

What a piece computes must not depend on the thread, so that results have the same bits on any number of threads. A stage raises
and allocates nothing: it runs as a C function, which could not report an error.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from minisqx.kernels.compiler import late
from minisqx.kernels.compiler.cache import cache_name
from minisqx.kernels.compiler.words import are_offsets_right, key_of, words_of
from minisqx.kernels.structures import Place

# Names of the stages that this process compiles for another one (`second_process.py`): then it runs none.
_only: frozenset[str] | None = None


def only_compile(names: set[str]) -> None:
    """From now on programs aren't run in this process, and only stages with these names, such as "convolution.convolve", are
    compiled. Functions that kernels call (`published.py`) aren't, either.
    """
    global _only
    _only = frozenset(names)


def compiles_only() -> bool:
    """Whether `only_compile` was called."""
    return _only is not None


class Shared(NamedTuple):
    """A stage that is divided: kernel(*arguments, place), with a `Place` for each number below pieces(*arguments)."""

    kernel: Callable
    pieces: Callable[..., int]


class Step(NamedTuple):
    """A stage in the table that threads run: its C function's address, the address of its words, the number of its pieces."""

    code: int
    words: int
    pieces: int


class Call:
    """A task with its arguments, to be run any number of times. The arrays are read and written where they are."""

    def __init__(self, task: "Task", arguments: tuple):
        self.task, self.arguments = task, arguments
        # Each stage with the number of its pieces; None: it isn't shared.
        self._stages: list[tuple[Callable, int | None]] = [
            (stage.kernel, stage.pieces(*arguments)) if isinstance(stage, Shared) else (stage, None) for stage in task.stages
        ]
        self._words = np.frombuffer(words_of(arguments), np.int64)

    def steps(self) -> list[Step]:
        """The stages as threads run them, compiled if necessary. They are valid as long as the call lives."""
        address = self._words.ctypes.data
        return [
            Step(_code(kernel, self.arguments, pieces is not None), address, 1 if pieces is None else pieces)
            for kernel, pieces in self._stages
        ]

    def run_alone(self) -> None:
        """Runs the stages on this thread, from Python."""
        for kernel, pieces in self._stages:
            if pieces is None:
                kernel(*self.arguments)
            else:
                for piece in range(pieces):
                    kernel(*self.arguments, Place(piece, 0))


class Task:
    """A row of stages: kernels, which one thread runs, and `Shared` ones. All take the same arguments."""

    def __init__(self, *stages: Callable | Shared):
        self.stages = stages

    def bind(self, arguments: tuple) -> Call:
        """The call with these arguments."""
        return Call(self, arguments)

    def __call__(self, *arguments) -> None:
        Program([self.bind(arguments)]).run()


class Program:
    """Calls that are run one after the other, each on all threads."""

    def __init__(self, calls: Sequence[Call]):
        self.calls, self._table = tuple(calls), np.zeros((0, len(Step._fields)), np.int64)
        # Without the JIT, and where the fields of NumPy's arrays are elsewhere, C functions can't be used.
        self._is_compiled = not late.is_jit_disabled() and are_offsets_right()
        if self._is_compiled:
            self._table = np.array([step for call in calls for step in call.steps()], np.int64).reshape(-1, len(Step._fields))

    def run(self) -> None:
        """Raises TrainingError where `alone.run_alone` does."""
        if compiles_only():
            return
        if self._is_compiled:
            late.module("team").run(self._table)
        else:
            for call in self.calls:
                call.run_alone()


_codes: dict[object, Any] = {}


def _code(kernel, arguments: tuple, is_shared: bool) -> int:
    """The address of a stage's C function for arguments of the same types as these."""
    if _only is not None and cache_name(kernel.py_func) not in _only:
        return 0
    key = kernel, is_shared, key_of(arguments)
    if key not in _codes:
        _codes[key] = late.module("c_function").compile_stage(kernel, arguments, is_shared)
    return _codes[key].address
