"""What layers share, and what they keep between batches: scratch memory, buffers per batch shape, prepared kernel calls."""

from functools import partial
from itertools import count
from operator import is_
from typing import Any

import numpy as np

from minisqx.kernels import convolution, im2col, structures
from minisqx.kernels.activation import NO_ACTIVATION
from minisqx.kernels.compiler.jit import bound
from minisqx.kernels.layout import Layout, aligned_empty
from minisqx.kernels.structures import BLOCK, SCRATCH_STRIDE, Cut
from minisqx.kernels.tiles import product
from minisqx.layers.part import NetworkPart
from minisqx.layers.tensors import Activation, Gradient
from minisqx.machine.threads import max_threads


class Workspace(NetworkPart):
    """Shared by all layers of a network: the dtype, scratch memory for each thread, rows of zeros and ones, dropout's counters.

    numbers: counts the basic blocks. seed; dropout_step, the number of training forward passes: dropout draws its masks from
    them.
    """

    def __init__(self, dtype, seed: int = 0):
        self.dtype, self.seed = np.dtype(dtype), seed
        self.dropout_step = 0
        im2col.prepare(self.dtype)
        product.prepare(self.dtype)
        self._scratch = np.empty((0, 0), self.dtype)
        self._passing = [np.empty(0, self.dtype)] * 2
        self.numbers = count()
        self.no_tensor = np.empty((0, 0, 0), self.dtype)
        self._no_sums = np.empty((0, 0, 0))
        self._zeros, self._ones = np.zeros(0, self.dtype), np.ones(0, self.dtype)

    def scratch(self, rows: int) -> np.ndarray:
        """(threads, elements): at least `rows` rows of SCRATCH_STRIDE elements for each thread."""
        if self._scratch.shape[1] < rows * SCRATCH_STRIDE:
            self._scratch = aligned_empty((max_threads(), rows * SCRATCH_STRIDE), self.dtype)
        return self._scratch

    def for_kernel(self, source: int = 0, gradient: int = 0, columns: int = 0, by_chunk: np.ndarray | None = None):
        """The structure that kernels take. source, gradient, columns: rows of these regions of scratch (`structures.Scratch`).

        by_chunk: the sums that the kernel writes for each chunk.
        """
        scratch = self.scratch(source + gradient + columns)
        starts = SCRATCH_STRIDE * source, SCRATCH_STRIDE * (source + gradient)
        sums = self._no_sums if by_chunk is None else by_chunk
        return structures.Workspace(scratch, *starts, sums, *self.constants(0))

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
    """A cache of `make(layout)` for the last few layouts: full batches and the shorter last one each keep their buffers."""

    SHAPES = 3

    def __init__(self, make):
        self._make = make
        self._by_layout: dict = {}
        self._last, self._last_made = None, None

    def __call__(self, layout: Layout):
        if layout is not self._last:
            if layout not in self._by_layout:
                while len(self._by_layout) >= self.SHAPES:
                    del self._by_layout[next(iter(self._by_layout))]
                self._by_layout[layout] = self._make(layout)
            self._last, self._last_made = layout, self._by_layout[layout]
        return self._last_made


class BoundCall(NetworkPart):
    """A kernel and its arguments, which follow from `inputs` and are prepared again only if the inputs are other objects."""

    def __init__(self, kernel):
        self.kernel, self.inputs, self._code = kernel, (), None
        self.run: Any = None

    def is_prepared_for(self, *inputs) -> bool:
        return len(inputs) == len(self.inputs) and all(map(is_, inputs, self.inputs))

    def prepare(self, inputs: tuple, arguments: tuple) -> None:
        """Makes `run()` call the kernel with these arguments."""
        self._code = self._code or bound(self.kernel, arguments)
        self.inputs, self.run = inputs, partial(self._code, *arguments)


def cut_of(layout: Layout) -> Cut:
    """The part of a layout that kernels take."""
    return Cut(layout.images, layout.images_per_chunk, layout.map_pixels)


def materialise(gradient: Gradient, out: np.ndarray, layout: Layout, workspace: Workspace) -> np.ndarray:
    """Computes a gradient and writes it into `out` (chunks, channels, stride), which is returned."""
    scratch = workspace.for_kernel(gradient.depth, out.shape[1])
    convolution.input_gradient(out, gradient.source(workspace.dtype), cut_of(layout), scratch)
    return out
