"""What layers share and keep from batch to batch: scratch memory, buffers by batch shape, calls with their arguments."""

from functools import partial
from operator import is_
from typing import Any

import numpy as np

from minisqx.kernels import convolution, im2col, structures
from minisqx.kernels.activation import NO_ACTIVATION
from minisqx.kernels.blocks import BLOCK, SCRATCH_STRIDE
from minisqx.kernels.compiler.jit import bound
from minisqx.kernels.layout import Layout, aligned_empty
from minisqx.kernels.structures import Cut
from minisqx.kernels.tiles import product
from minisqx.layers.part import Part
from minisqx.layers.tensors import Activation, Gradient
from minisqx.machine.threads import most_threads


class Workspace(Part):
    """What all layers of a network share: the dtype, rows of zeros and ones, a scratch for each thread, and the step.

    dropout_step: the number of the forward pass, from which dropout draws its masks.
    """

    def __init__(self, dtype):
        self.dtype = np.dtype(dtype)
        self.dropout_step = 0
        im2col.prepare(self.dtype)
        product.prepare(self.dtype)
        self._scratch = np.empty((0, 0), self.dtype)
        self._no_sums = np.empty((0, 0, 0))
        self._zeros, self._ones = np.zeros(0, self.dtype), np.ones(0, self.dtype)

    def scratch(self, rows: int) -> np.ndarray:
        """(threads, elements): at least `rows` rows of a block for each thread."""
        if self._scratch.shape[1] < rows * SCRATCH_STRIDE:
            self._scratch = aligned_empty((most_threads(), rows * SCRATCH_STRIDE), self.dtype)
        return self._scratch

    def for_kernel(self, source: int = 0, gradient: int = 0, columns: int = 0, by_chunk: np.ndarray | None = None):
        """What kernels take: a scratch with regions of so many rows (see `structures.Scratch`), and a kernel's sums by chunk."""
        scratch = self.scratch(source + gradient + columns)
        starts = SCRATCH_STRIDE * source, SCRATCH_STRIDE * (source + gradient)
        sums = self._no_sums if by_chunk is None else by_chunk
        return structures.Workspace(scratch, *starts, sums, *self.constants(0))

    def constants(self, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of zeros and of ones, at least `length` and a block long."""
        length = max(length, BLOCK)
        if self._zeros.size < length:
            self._zeros, self._ones = np.zeros(length, self.dtype), np.ones(length, self.dtype)
        return self._zeros, self._ones

    def empty(self, layout: Layout, channels: int) -> np.ndarray:
        return layout.empty(channels, self.dtype)

    def plain(self, data: np.ndarray, layout: Layout) -> Activation:
        """A tensor with nothing deferred."""
        channels = data.shape[1]
        zeros, ones = self.constants(max(layout.stride, channels))
        return Activation(data, layout, 0, ones[:channels], zeros[:channels], NO_ACTIVATION, np.empty((channels, 2)))


class PerLayout(Part):
    """The buffers that a layer has for each of the last batch shapes: a full batch and the shorter last one keep theirs."""

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


class BoundCall(Part):
    """A kernel with its arguments, which are made of `inputs`: made again only when those are other objects than last time."""

    def __init__(self, kernel):
        self.kernel, self.inputs, self._code = kernel, (), None
        self.run: Any = None

    def is_for(self, *inputs) -> bool:
        return len(inputs) == len(self.inputs) and all(map(is_, inputs, self.inputs))

    def prepare(self, inputs: tuple, arguments: tuple) -> None:
        """From now on `run()` calls the kernel with these arguments."""
        self._code = self._code or bound(self.kernel, arguments)
        self.inputs, self.run = inputs, partial(self._code, *arguments)


def cut_of(layout: Layout) -> Cut:
    return Cut(layout.images, layout.images_per_chunk, layout.map_pixels)


def materialise(gradient: Gradient, out: np.ndarray, layout: Layout, workspace: Workspace) -> np.ndarray:
    """Writes a deferred gradient into `out` (chunks, channels, stride)."""
    workspace_of_kernel = workspace.for_kernel(gradient.depth, out.shape[1])
    convolution.input_gradient(out, gradient.source(workspace.dtype), cut_of(layout), workspace_of_kernel)
    return out
