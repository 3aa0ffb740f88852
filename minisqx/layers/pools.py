"""Max pooling, and global average pooling."""

from dataclasses import replace

import numpy as np

from minisqx.kernels import max_pool, pooling, structures
from minisqx.kernels.geometry import Geometry, Taps
from minisqx.kernels.layout import Layout
from minisqx.kernels.structures import BLOCK, Rows
from minisqx.layers.checks import check_array, check_gradient, check_input
from minisqx.layers.part import NetworkPart
from minisqx.layers.tensors import Activation, Gradient
from minisqx.layers.workspace import BoundCall, PerLayout, Workspace, cut_of, materialise
from minisqx.spec import AveragePoolSpec, MaxPoolSpec


class MaxPool(NetworkPart):
    """Max pooling; see `kernels/max_pool.py`. Its input must have nothing deferred, as in SqueezeNet."""

    def __init__(self, spec: MaxPoolSpec, workspace: Workspace):
        self.spec, self.workspace = spec, workspace
        self.buffers_for = PerLayout(self._make_buffers)

    @staticmethod
    def kept_tensors(spec: MaxPoolSpec) -> tuple[int, int]:
        """Tensors kept for batches of one shape: of the input's shape (dx), and of the output's (out, dy, index)."""
        return 1, 3

    def _make_buffers(self, inputs: Layout) -> tuple[Activation, np.ndarray, np.ndarray, Gradient, Taps]:
        spec = replace(self.spec, input_size=(inputs.height, inputs.width))
        kernel, stride = (spec.kernel, spec.kernel), (spec.stride, spec.stride)
        geometry = Geometry.of(kernel, stride, (0, 0), spec.input_size, spec.output_size)
        layout, empty = inputs.resized(*spec.output_size), self.workspace.empty
        out, dy, dx = empty(layout, spec.channels), empty(layout, spec.channels), empty(inputs, spec.channels)
        index, taps = np.empty(out.shape, np.int32), geometry.taps(layout, self.workspace.dtype)
        return self.workspace.plain(out, layout), index, dy, Gradient(stored=dx), taps

    def forward(self, x: Activation) -> Activation:
        """x: (N, C, H, W). Stores the index of each maximum for backward."""
        check_input(self, x, self.spec.channels, self.workspace.dtype)
        self.x = x
        y, index, _, _, taps = self.buffers_for(x.layout)
        self.workspace.call(max_pool.forward, y.data, index, Rows(x.data, x.row), taps, cut_of(y.layout))
        return y

    def backward(self, gradient: Gradient) -> Gradient:
        check_gradient(self, gradient)
        y, index, dy, dx, _ = self.buffers_for(self.x.layout)
        materialise(gradient, dy, y.layout, self.workspace)
        self.workspace.call(max_pool.backward, dx.stored, dy, index, cut_of(self.x.layout), cut_of(y.layout))
        return dx

    def values(self) -> dict[str, np.ndarray]:
        """Name -> output (N, C, H, W) of the last forward pass."""
        return {self.spec.name: self.buffers_for(self.x.layout)[0].values()}


class AveragePool(NetworkPart):
    """Global average pooling."""

    def __init__(self, spec: AveragePoolSpec, workspace: Workspace):
        self.spec, self.workspace = spec, workspace
        self.buffers_for = PerLayout(self._make_buffers)
        self.forward_call, self.backward_call = BoundCall(pooling.forward, workspace), BoundCall(pooling.backward, workspace)

    @staticmethod
    def kept_tensors(spec: AveragePoolSpec) -> tuple[int, int]:
        """Tensors kept for batches of one shape: of the input's shape (dx), and of the output's."""
        return 1, 0

    def _make_buffers(self, layout: Layout) -> tuple[np.ndarray, np.ndarray, Gradient]:
        """features; the sum of each stored map; dx."""
        shape = layout.images, self.spec.channels
        dx = Gradient(stored=self.workspace.empty(layout, self.spec.channels))
        return np.empty(shape, self.workspace.dtype), np.empty(shape), dx

    def forward(self, x: Activation) -> np.ndarray:
        """x: (N, C, H, W). Returns the mean of each map, (N, C), which the next forward pass overwrites."""
        check_input(self, x, self.spec.channels, self.workspace.dtype)
        self.x = x
        self.features, self.totals, self.dx = self.buffers_for(x.layout)
        arguments = lambda: (self.features, x.tensor(), cut_of(x.layout), self._scratch(x.layout))  # noqa: E731
        self.forward_call(x, self.features, arguments=arguments)
        return self.features

    def backward(self, dfeatures: np.ndarray) -> Gradient:
        """dfeatures: (N, C). Returns the gradient of x, stored; writes the sums of x's batch norm."""
        x = self.x
        check_array(self, "backward", dfeatures, self.features.shape, self.features.dtype)
        arguments = self.dx.stored, dfeatures, x.tensor(), self.totals, cut_of(x.layout)
        self.backward_call(x, dfeatures, self.dx, arguments=lambda: arguments)
        return self.dx

    def _scratch(self, layout: Layout) -> structures.Workspace:
        """One row of a tensor."""
        return self.workspace.for_kernel(columns=-(-layout.stride // BLOCK))

    def values(self) -> dict[str, np.ndarray]:
        """Name -> output (N, C) of the last forward pass."""
        return {self.spec.name: self.features.copy()}
