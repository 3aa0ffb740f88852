"""What layers share, and what they keep between batches: scratch memory, buffers per batch shape, prepared kernel calls."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from operator import is_
from typing import Any

import numpy as np

from minisqx.kernels import convolution, im2col, structures
from minisqx.kernels.activation import NO_ACTIVATION
from minisqx.kernels.compiler import second_process
from minisqx.kernels.compiler.tasks import Call, Program, Task
from minisqx.kernels.compiler.words import words_of
from minisqx.kernels.layout import Layout, aligned_empty
from minisqx.kernels.structures import BLOCK, SCRATCH_STRIDE, Cut
from minisqx.kernels.tiles import product
from minisqx.layers.part import NetworkPart
from minisqx.layers.tensors import Activation, Gradient
from minisqx.machine.ranks import ALONE, Ranks
from minisqx.machine.threads import max_threads


class Workspace(NetworkPart):
    """Shared by all layers of a network: the dtype, scratch memory for each thread, rows of zeros and ones, dropout's counters.

    ranks: the processes that train together. numbers: counts the basic blocks. seed; dropout_step, the number of training forward
    passes: dropout draws its masks from them.
    """

    # How many are kept: more calls than a step makes, and forward and backward for three shapes of batches, in either buffer of a
    # loader.
    CALLS, PROGRAMS = 256, 12

    def __init__(self, dtype, seed: int = 0, ranks: Ranks = ALONE):
        self.dtype, self.seed, self.ranks = np.dtype(dtype), seed, ranks
        self.dropout_step = 0
        second_process.start("convolution.pass_back", "minisqx.training.warmup", "compile_backward", self.dtype.name)
        im2col.prepare(self.dtype)
        product.prepare(self.dtype)
        self._scratch = np.empty((0, 0), self.dtype)
        self._passing = [np.empty(0, self.dtype)] * 2
        self.numbers = count()
        self._no_sums, self._no_total = np.empty((0, 0, 0)), np.empty((0, 0))
        self._total = np.empty(0)
        self._zeros, self._ones = np.zeros(0, self.dtype), np.ones(0, self.dtype)
        self._waiting: list[Call] | None = None
        self._calls: dict[tuple[Task, bytes], Call] = {}
        self._programs: dict[tuple[Call, ...], Program] = {}

    def call(self, task: Task, *arguments) -> None:
        """Runs a task, as `run` does. Calls with the same arrays and numbers as an earlier one are not prepared again."""
        key = task, words_of(arguments)
        if key not in self._calls:
            drop_oldest(self._calls, self.CALLS)
            self._calls[key] = task.bind(arguments)
        self.run(self._calls[key])

    def run(self, call: Call) -> None:
        """Runs a call; within `one_program`, at its end."""
        if self._waiting is None:
            Program([call], self.ranks).run()
        else:
            self._waiting.append(call)

    @contextmanager
    def one_program(self) -> Iterator[None]:
        """A context at whose end the calls made in it are run, without Python between them."""
        self._waiting = []
        try:
            yield
            calls = tuple(self._waiting)
        finally:
            self._waiting = None
        if calls not in self._programs:
            drop_oldest(self._programs, self.PROGRAMS)
            self._programs[calls] = Program(calls, self.ranks)
        self._programs[calls].run()

    def scratch(self, rows: int) -> np.ndarray:
        """(threads, elements): at least `rows` rows of SCRATCH_STRIDE elements for each thread."""
        if self._scratch.shape[1] < rows * SCRATCH_STRIDE:
            self._scratch = aligned_empty((max_threads(), rows * SCRATCH_STRIDE), self.dtype)
        return self._scratch

    def total(self, rows: int, columns: int) -> np.ndarray:
        """(rows, columns) float64, for sums over all chunks: shared by all layers, since no two need it at once."""
        if self._total.size < rows * columns:
            self._total = np.empty(rows * columns)
        return self._total[: rows * columns].reshape(rows, columns)

    def for_kernel(self, source: int = 0, gradient: int = 0, columns: int = 0, by_chunk: Any = None, total: Any = None):
        """The structure that kernels take. source, gradient, columns: rows of these regions of scratch (`structures.Scratch`).

        by_chunk, total: arrays for the sums that the kernel writes for each chunk, and for all; or None.
        """
        scratch = self.scratch(source + gradient + columns)
        starts = SCRATCH_STRIDE * source, SCRATCH_STRIDE * (source + gradient)
        sums = self._no_sums if by_chunk is None else by_chunk
        return structures.Workspace(scratch, *starts, sums, self._no_total if total is None else total, *self.constants(0))

    def constants(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """A row of zeros and a row of ones, at least `length` and at least a block long."""
        length = max(length, BLOCK)
        if self._zeros.size < length:
            self._zeros, self._ones = np.zeros(length, self.dtype), np.ones(length, self.dtype)
        return self._zeros, self._ones

    def empty(self, layout: Layout, channels: int) -> np.ndarray:
        """An uninitialised tensor (chunks, channels, stride)."""
        return layout.empty(channels, self.dtype)

    def passing(self, number: int, layout: Layout, channels: int) -> np.ndarray:
        """A tensor (chunks, channels, stride) for a gradient that lives until the layer before has read it.

        number: of the layer. Tensors of all odd numbers share one memory, which so stays in cache; those of even numbers another.
        """
        size = layout.chunks * channels * layout.stride
        if self._passing[number % 2].size < size:
            self._passing[number % 2] = aligned_empty(size, self.dtype)
        return self._passing[number % 2][:size].reshape(layout.chunks, channels, layout.stride)

    def plain(self, data: np.ndarray, layout: Layout) -> Activation:
        """An Activation of data (chunks, channels, stride) with nothing deferred."""
        channels = data.shape[1]
        zeros, ones = self.constants(max(layout.stride, channels))
        return Activation(data, layout, 0, ones[:channels], zeros[:channels], NO_ACTIVATION, np.empty((channels, 2)))


class PerLayout(NetworkPart):
    """A cache of `make(layout)` for the last few layouts: full batches and the shorter last one each keep their buffers.

    Where buffers depend on the number of images alone, that takes the place of the layout.
    """

    SHAPES = 3

    def __init__(self, make):
        self._make = make
        self._by_layout: dict = {}
        self._last, self._last_made = None, None

    def __call__(self, layout: Layout | int):
        if layout is not self._last:
            if layout not in self._by_layout:
                drop_oldest(self._by_layout, self.SHAPES)
                self._by_layout[layout] = self._make(layout)
            self._last, self._last_made = layout, self._by_layout[layout]
        return self._last_made


class BoundCall(NetworkPart):
    """A task whose arguments follow from `inputs`. They are prepared again only for other objects as inputs.

    The calls for the last two inputs are kept, since a loader has two buffers for its batches.
    """

    def __init__(self, task: Task, workspace: Workspace):
        self.task, self.workspace = task, workspace
        self._prepared: list[tuple[tuple, Call]] = []
        self._call: Any = None

    def is_prepared_for(self, *inputs) -> bool:
        for known, call in self._prepared:
            if len(inputs) == len(known) and all(map(is_, inputs, known)):
                self._call = call
                return True
        return False

    def prepare(self, inputs: tuple, arguments: tuple) -> None:
        """Makes `run()` call the task with these arguments."""
        self._call = self.task.bind(arguments)
        self._prepared = [*self._prepared[-1:], (inputs, self._call)]

    def run(self) -> None:
        self.workspace.run(self._call)

    def __call__(self, *inputs, arguments: Callable[[], tuple]) -> None:
        """Runs the task with arguments(), which are prepared if necessary."""
        if not self.is_prepared_for(*inputs):
            self.prepare(inputs, arguments())
        self.run()


def drop_oldest(kept: dict, limit: int) -> None:
    """Makes room for one more entry."""
    while len(kept) >= limit:
        del kept[next(iter(kept))]


def cut_of(layout: Layout) -> Cut:
    """The part of a layout that kernels take."""
    return Cut(layout.images, layout.images_per_chunk, layout.map_pixels)


def materialise(gradient: Gradient, out: np.ndarray, layout: Layout, workspace: Workspace) -> np.ndarray:
    """Computes a gradient and writes it into `out` (chunks, channels, stride), which is returned."""
    scratch = workspace.for_kernel(gradient.depth, out.shape[1])
    workspace.call(convolution.input_gradient, out, gradient.source(workspace.dtype), cut_of(layout), scratch)
    return out
