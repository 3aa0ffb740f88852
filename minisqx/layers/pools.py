"""Max pool, and the average over the whole map."""

from dataclasses import replace

import numpy as np

from minisqx.kernels import max_pool, pooling
from minisqx.kernels.blocks import BLOCK
from minisqx.kernels.im2col import Geometry, Taps
from minisqx.kernels.layout import Layout
from minisqx.kernels.structures import Rows
from minisqx.layers.checks import check_array, check_gradient, check_input
from minisqx.layers.part import Part
from minisqx.layers.tensors import Activation, Gradient
from minisqx.layers.workspace import PerLayout, Workspace, cut_of, materialise
from minisqx.spec import AveragePoolSpec, MaxPoolSpec


class MaxPool(Part):
    """The largest of every window; see `kernels/max_pool.py`. It reads a tensor with nothing deferred."""

    def __init__(self, spec: MaxPoolSpec, workspace: Workspace):
        self.spec, self.workspace = spec, workspace
        self.kept = PerLayout(self._buffers)

    def _buffers(self, inputs: Layout) -> tuple[Activation, np.ndarray, np.ndarray, Gradient, Taps]:
        spec = replace(self.spec, input_size=(inputs.height, inputs.width))
        kernel, stride = (spec.kernel, spec.kernel), (spec.stride, spec.stride)
        geometry = Geometry.of(kernel, stride, (0, 0), spec.input_size, spec.output_size)
        layout, empty = inputs.resized(*spec.output_size), self.workspace.empty
        out, g, dx = empty(layout, spec.channels), empty(layout, spec.channels), empty(inputs, spec.channels)
        place, taps = np.empty(out.shape, np.int32), geometry.taps(layout, self.workspace.dtype)
        return self.workspace.plain(out, layout), place, g, Gradient(stored=dx), taps

    def forward(self, x: Activation) -> Activation:
        check_input(self, x, self.spec.channels, self.workspace.dtype)
        self.x = x
        y, place, _, _, taps = self.kept(x.layout)
        max_pool.forward(y.data, place, Rows(x.data, x.row), taps, cut_of(y.layout))
        return y

    def backward(self, gradient: Gradient) -> Gradient:
        check_gradient(self, gradient)
        y, place, g, dx, _ = self.kept(self.x.layout)
        materialise(gradient, g, y.layout, self.workspace)
        max_pool.backward(dx.stored, g, place, cut_of(self.x.layout), cut_of(y.layout))
        return dx

    def values(self) -> dict[str, np.ndarray]:
        """The output (N, C, H, W) of the last forward pass, by name."""
        return {self.spec.name: self.kept(self.x.layout)[0].values()}


class AveragePool(Part):
    """The mean over the whole map: (N, C, H, W) to (N, C)."""

    def __init__(self, spec: AveragePoolSpec, workspace: Workspace):
        self.spec, self.workspace = spec, workspace
        self.kept = PerLayout(lambda layout: Gradient(stored=workspace.empty(layout, spec.channels)))

    def forward(self, x: Activation) -> np.ndarray:
        check_input(self, x, self.spec.channels, self.workspace.dtype)
        self.x = x
        features = self.features = np.empty((x.layout.images, self.spec.channels), self.workspace.dtype)
        pooling.forward(features, x.tensor(), cut_of(x.layout), self.workspace.for_kernel(columns=-(-x.layout.stride // BLOCK)))
        return features

    def values(self) -> dict[str, np.ndarray]:
        """The output (N, C) of the last forward pass, by name."""
        return {self.spec.name: self.features}

    def backward(self, dfeatures: np.ndarray) -> Gradient:
        x = self.x
        check_array(self, "backward", dfeatures, self.features.shape, self.features.dtype)
        dx = self.kept(x.layout)
        pooling.backward(dx.stored, dfeatures, x.tensor(), cut_of(x.layout))
        return dx
