"""Dropout. Its mask is not stored: backward draws it again from the same counters."""

import numpy as np

from minisqx.kernels import counters, dropout
from minisqx.kernels.layout import Layout
from minisqx.layers.checks import check_gradient, check_input
from minisqx.layers.part import NetworkPart
from minisqx.layers.tensors import Activation, Gradient
from minisqx.layers.workspace import BoundCall, PerLayout, Workspace, cut_of, materialise
from minisqx.spec import DropoutSpec


class Dropout(NetworkPart):
    """Zeroes elements with the spec's probability and scales the others by 1 / (1 - probability).

    The mask is a function of (seed, step, image, element), see `kernels/dropout.py`; seed and step are the workspace's.
    """

    def __init__(self, spec: DropoutSpec, workspace: Workspace):
        self.spec, self.workspace = spec, workspace
        self.probability, self.channels = spec.probability, spec.channels
        self.key = np.zeros(1, np.uint64)
        self.forward_call, self.backward_call = (BoundCall(dropout.apply, workspace) for _ in range(2))
        self.buffers_for = PerLayout(self._make_buffers)

    @staticmethod
    def kept_tensors(spec: DropoutSpec) -> tuple[int, int]:
        """Tensors kept for batches of one shape: of the input's shape (out, dx), and of the output's."""
        return (2, 0) if spec.probability else (0, 0)

    def _make_buffers(self, layout: Layout) -> tuple[Activation, Activation, Gradient]:
        """y; dx as the kernel reads it, and as the layer returns it."""
        y, dx = (self.workspace.plain(self.workspace.empty(layout, self.channels), layout) for _ in range(2))
        return y, dx, Gradient(stored=dx.data)

    def forward(self, x: Activation) -> Activation:
        """x: (N, C, H, W). Returns x itself if the probability is 0."""
        check_input(self, x, self.channels, self.workspace.dtype)
        self.layout = x.layout
        self.y = x
        if self.probability > 0:
            self.y, self.dx, self.dx_gradient = self.buffers_for(x.layout)
            self.key[0] = counters.stream(self.workspace.seed, counters.DROPOUT, self.workspace.dropout_step)
            self.forward_call(x, self.y, arguments=lambda: self._arguments(self.y, x))
        return self.y

    def backward(self, gradient: Gradient) -> Gradient:
        """Returns the gradient of x, stored; the gradient itself if the probability is 0."""
        check_gradient(self, gradient)
        if self.probability == 0:
            return gradient
        # In place: dx is written over dy.
        materialise(gradient, self.dx.data, self.layout, self.workspace)
        self.backward_call(self.dx, arguments=lambda: self._arguments(self.dx, self.dx))
        return self.dx_gradient

    def _arguments(self, out: Activation, x: Activation) -> tuple:
        """Of `dropout.apply`."""
        return out.data, x.tensor(), self.probability, self.key, cut_of(self.layout)

    def values(self) -> dict[str, np.ndarray]:
        """Name -> output (N, C, H, W) of the last forward pass."""
        return {self.spec.name: self.y.values()}
