"""Tasks: kernels whose work is shared among threads, and run in a row without Python between them.

    forward = Task(fold_weight, Chunked(convolve, chunks), Gathered(moments), normalise)
    Program([forward.bind(arguments), ...]).run()

A task is a row of stages. The pieces of a `Shared` stage are computed by any thread, in any order, also at the same time. When
all are done, the next stage begins. `team.py` has the threads.

Where several processes train together (`minisqx.machine.ranks`), each computes its own chunks of a `Chunked` stage, and takes
part in all others. `Gathered` then brings together what the chunks have left. One process alone has nothing to gather.

What a piece computes must not depend on the thread, so that results have the same bits on any number of threads. A stage raises
and allocates nothing: it runs as a C function, which could not report an error.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from minisqx.kernels.compiler import late
from minisqx.kernels.compiler.cache import cache_name
from minisqx.kernels.compiler.words import are_offsets_right, key_of, words_of
from minisqx.kernels.structures import Place
from minisqx.machine.ranks import ALONE, Ranks

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


class Chunked(NamedTuple):
    """A `Shared` stage whose pieces are the chunks of a batch, in their order."""

    kernel: Callable
    pieces: Callable[..., int]


class Gathered(NamedTuple):
    """After a `Chunked` stage: array(*arguments), of which each chunk has written rows(*arguments) rows.

    The last chunk may have written fewer.
    """

    array: Callable[..., np.ndarray]
    rows: Callable[..., int] = lambda *_: 1


class Step(NamedTuple):
    """A stage in the table that threads run: the addresses of its C function and its words, its first piece, and their number."""

    code: int
    words: int
    first: int
    pieces: int


class Call:
    """A task with its arguments, to be run any number of times. The arrays are read and written where they are."""

    def __init__(self, task: "Task", arguments: tuple):
        self.task, self.arguments = task, arguments
        self._words = np.frombuffer(words_of(arguments), np.int64)

    def stages(self, ranks: Ranks) -> Iterator[tuple["Call", Callable, range | None]]:
        """What this process runs: calls with a stage of theirs, and its pieces; None: it isn't shared."""
        for stage in self.task.stages:
            match stage:
                case Chunked():
                    yield self, stage.kernel, ranks.share(stage.pieces(*self.arguments))
                case Shared():
                    yield self, stage.kernel, range(stage.pieces(*self.arguments))
                case Gathered():
                    gathering = ranks.gathering(stage.array(*self.arguments), stage.rows(*self.arguments))
                    if gathering is not None:
                        yield from gathering.stages(ranks)
                case _:
                    yield self, stage, None

    def step(self, kernel: Callable, pieces: range | None) -> Step:
        """A stage as threads run it, compiled if necessary. It is valid as long as the call lives."""
        code, place = _code(kernel, self.arguments, pieces is not None), range(1) if pieces is None else pieces
        return Step(code, self._words.ctypes.data, place.start, len(place))

    def run_alone(self, kernel: Callable, pieces: range | None) -> None:
        """Runs a stage on this thread, from Python."""
        if pieces is None:
            kernel(*self.arguments)
        else:
            for piece in pieces:
                kernel(*self.arguments, Place(piece, 0))


class Task:
    """A row of stages: kernels, which one thread runs, and the others above. All take the same arguments."""

    def __init__(self, *stages: Callable | Shared | Chunked | Gathered):
        self.stages = stages

    def bind(self, arguments: tuple) -> Call:
        """The call with these arguments."""
        return Call(self, arguments)

    def __call__(self, *arguments) -> None:
        Program([self.bind(arguments)]).run()


class Program:
    """Calls that are run one after the other, each on all threads. ranks: the processes that run this program together."""

    def __init__(self, calls: Sequence[Call], ranks: Ranks = ALONE):
        self.calls = tuple(calls)
        self._stages = [stage for call in calls for stage in call.stages(ranks)]
        self._table = np.zeros((0, len(Step._fields)), np.int64)
        # Without the JIT, and where the fields of NumPy's arrays are elsewhere, C functions can't be used.
        self._is_compiled = not late.is_jit_disabled() and are_offsets_right()
        if self._is_compiled:
            steps = (call.step(kernel, pieces) for call, kernel, pieces in self._stages)
            # The threads would wait forever for the last piece of a step without any.
            self._table = np.array([step for step in steps if step.pieces], np.int64).reshape(-1, len(Step._fields))

    def run(self) -> None:
        """Raises TrainingError where `alone.run_alone` does."""
        if compiles_only():
            return
        if self._is_compiled:
            late.module("team").run(self._table)
        else:
            for call, kernel, pieces in self._stages:
                call.run_alone(kernel, pieces)


_codes: dict[object, Any] = {}


def _code(kernel, arguments: tuple, is_shared: bool) -> int:
    """The address of a stage's C function for arguments of the same types as these."""
    if _only is not None and cache_name(kernel.py_func) not in _only:
        return 0
    key = kernel, is_shared, key_of(arguments)
    if key not in _codes:
        _codes[key] = late.module("c_function").compile_stage(kernel, arguments, is_shared)
    return _codes[key].address
