"""Dropout."""

import numpy as np

from minisqx.kernels import counters, dropout
from minisqx.kernels.layout import Layout
from minisqx.layers.checks import check_gradient, check_input
from minisqx.layers.part import Part
from minisqx.layers.tensors import Activation, Gradient
from minisqx.layers.workspace import PerLayout, Workspace, cut_of, materialise
from minisqx.spec import DropoutSpec


class Dropout(Part):
    """Zeroes elements at random and scales the rest; the mask is drawn from (seed, step, image, element), see
    `kernels/dropout.py`. The step is the workspace's.
    """

    def __init__(self, spec: DropoutSpec, seed: int, workspace: Workspace):
        self.spec, self.seed, self.workspace = spec, seed, workspace
        self.probability, self.channels = spec.probability, spec.channels
        self.kept = PerLayout(self._buffers)

    def _buffers(self, layout: Layout) -> tuple[Activation, Gradient]:
        out, dx = (self.workspace.empty(layout, self.channels) for _ in range(2))
        return self.workspace.plain(out, layout), Gradient(stored=dx)

    def forward(self, x: Activation) -> Activation:
        check_input(self, x, self.channels, self.workspace.dtype)
        self.layout = x.layout
        self.y = x
        if self.probability > 0:
            self.y, self.dx = self.kept(x.layout)
            self._apply(self.y.data, x)
        return self.y

    def backward(self, gradient: Gradient) -> Gradient:
        check_gradient(self, gradient)
        if self.probability == 0:
            return gradient
        dy = materialise(gradient, self.dx.stored, self.layout, self.workspace)
        self._apply(dy, self.workspace.plain(dy, self.layout))
        return self.dx

    def _apply(self, out: np.ndarray, x: Activation) -> None:
        key = counters.stream(self.seed, counters.DROPOUT, self.workspace.dropout_step)
        dropout.apply(out, x.tensor(), self.probability, key, cut_of(self.layout))

    def values(self) -> dict[str, np.ndarray]:
        """The output (N, C, H, W) of the last forward pass, by name."""
        return {self.spec.name: self.y.values()}
