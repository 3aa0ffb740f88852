"""The basic block: convolution, activation and batch norm as one layer."""

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from minisqx.errors import OptionError
from minisqx.kernels import convolution
from minisqx.kernels.activation import NO_ACTIVATION, number_of
from minisqx.kernels.blocks import SCRATCH_STRIDE, flip_taps
from minisqx.kernels.im2col import Geometry, Taps
from minisqx.kernels.layout import Layout
from minisqx.kernels.structures import Convolution, Folded, Norm, Parameters, Rows
from minisqx.kernels.tiles.simd import VECTOR_BYTES
from minisqx.layers.checks import check_gradient, check_input
from minisqx.layers.part import Part
from minisqx.layers.tensors import Activation, Gradient
from minisqx.layers.through_activation import BackwardThroughActivation
from minisqx.layers.workspace import BoundCall, PerLayout, Workspace, cut_of
from minisqx.spec import ConvolutionSpec


class Concatenation(Part):
    """A tensor of `rows` channels in which several blocks write side by side."""

    def __init__(self, rows: int, workspace: Workspace):
        self.rows = rows
        self.kept = PerLayout(lambda layout: workspace.empty(layout, rows))


@dataclass
class BlockBuffers:
    """What a basic block needs for batches of one shape; see `kernels/convolution.py` for the arrays.

    e: the tensor in which the output is stored. y, parts: what `forward` returns, as a whole and for each convolution. dx: what
    `backward` returns.
    """

    layout: Layout
    taps: Taps
    e: np.ndarray
    moments: np.ndarray
    gradients: np.ndarray
    y: Activation
    parts: list[Activation]
    dx: Gradient
    forward: BoundCall
    backward: BoundCall
    through_activation: "BackwardThroughActivation"


class BasicBlock(Part):
    """Convolution, activation, batch norm, in the order that the description says, fused; see `kernels/convolution.py`.

    specs: one convolution, or a bottleneck's first one and its shortcut, which read the same input and are computed as
    one with the channels of both. concatenation, row: the tensor in which the output lies from that row on, or one of its own.
    """

    def __init__(
        self,
        specs: tuple[ConvolutionSpec, ...],
        parameters: Parameters,
        gradients: Parameters,
        running_mean: np.ndarray,
        running_var: np.ndarray,
        workspace: Workspace,
        concatenation: Concatenation | None = None,
        row: int = 0,
    ):
        spec = specs[0]
        self.specs, self.name, self.parameters, self.gradients = specs, spec.name, parameters, gradients
        self.workspace = workspace
        self.normalised, self.norm_first = spec.has_norm, spec.order == "conv-bn-act"
        self.tap_count = spec.kernel[0] * spec.kernel[1]
        self.channels = sum(s.out_channels for s in specs)
        self.concatenation, self.row = concatenation or Concatenation(self.channels, workspace), row
        # Channels that have an activation come first: only a shortcut may lack it.
        self.activation = number_of(spec.activation)
        self.activated = sum(s.out_channels for s in specs if s.activation)
        depth, dtype = spec.in_channels * self.tap_count, workspace.dtype
        self.depth = depth
        # Three vectors a channel for the moments, in rows of scratch.
        self.moment_rows = -(-3 * self.channels * (VECTOR_BYTES // dtype.itemsize) // SCRATCH_STRIDE)
        self.folded_weight, self.folded_bias = np.empty(depth * self.channels, dtype), np.empty(self.channels, dtype)
        self.flipped_weight = np.empty((self.channels * self.tap_count, spec.in_channels), dtype)
        self.norm = Norm(
            mean=np.empty(self.channels),
            variance=np.empty(self.channels),
            running_mean=running_mean,
            running_var=running_var,
            scale=np.ones(self.channels, dtype),
            shift=np.zeros(self.channels, dtype),
            sums=np.empty((self.channels, 2)),
        )
        self.x: Any = None
        self.kept = PerLayout(self._buffers)

    def _buffers(self, inputs: Layout) -> BlockBuffers:
        """The buffers for an input of this layout."""
        spec, size, dtype = self.specs[0], (inputs.height, inputs.width), self.workspace.dtype
        layout = inputs.resized(*spec.size_after(size))
        if self.normalised and layout.images * layout.map_pixels < 2:
            raise OptionError(
                f"{spec.name} has one value a channel in this batch, and batch norm needs two: use a larger batch or image"
            )
        self.workspace.constants(max(layout.stride, inputs.stride, self.channels))
        geometry = Geometry.of(spec.kernel, spec.stride, spec.padding, size, (layout.height, layout.width))
        chunks, channels = layout.chunks, self.channels
        e, transposed = self.concatenation.kept(layout), geometry.transposed.taps(inputs, dtype)
        deferred = self.activation if self.norm_first else NO_ACTIVATION
        y = Activation(e, layout, self.row, self.norm.scale, self.norm.shift, deferred, self.norm.sums)
        starts = accumulate((s.out_channels for s in self.specs), initial=0)
        return BlockBuffers(
            layout=layout,
            taps=geometry.taps(layout, dtype),
            e=e,
            moments=np.empty((chunks, 2, channels)),
            gradients=np.empty((chunks, channels, self.depth + self.tap_count), dtype),
            y=y,
            parts=[
                y.part(at, at + s.out_channels, deferred if s.activation else NO_ACTIVATION) for at, s in zip(starts, self.specs)
            ],
            dx=Gradient(self.flipped_weight if self.tap_count > 1 else self.parameters.weight, e, self.row, transposed),
            forward=BoundCall(convolution.forward),
            backward=BoundCall(convolution.backward),
            through_activation=BackwardThroughActivation(
                self.workspace, layout, self.workspace.empty(layout, channels if self.norm_first else 0), self.activation
            ),
        )

    def forward(self, x: Activation) -> Activation:
        """x: (N, in_channels, H, W) deferred; returns the output deferred, and updates the running statistics."""
        if x is not self.x:
            check_input(self, x, self.specs[0].in_channels, self.workspace.dtype)
        self.x, self.buffers = x, self.kept(x.layout)
        b = self.buffers
        if not b.forward.is_for(x):
            zeros, ones = self.workspace.constants(0)
            # An activation that comes after the batch norm is the reader's.
            computed = self._convolution(0 if self.norm_first else self.activated)
            arguments = (
                Rows(b.e, self.row), self.norm, x.tensor(), self.parameters, computed, cut_of(b.layout),
                Folded(self.folded_weight, self.folded_bias, ones, zeros),
                self.workspace.for_kernel(columns=self.depth + self.moment_rows, by_chunk=b.moments),
            )  # fmt: skip
            b.forward.prepare((x,), arguments)
        b.forward.run()
        return b.y

    def _convolution(self, activated: int) -> Convolution:
        """What the kernels compute, with an activation of so many channels."""
        geometry, inside, index = self.buffers.taps
        inputs, outputs = self.specs[0].in_channels, self.channels
        return Convolution(geometry, inside, index, inputs, outputs, self.activation, activated)

    @property
    def outputs(self) -> list[Activation]:
        """What the last forward pass returned, for each of the convolutions that are computed together."""
        return self.buffers.parts

    def values(self) -> dict[str, np.ndarray]:
        """The output (N, C, H, W) of the last forward pass, by the name of each convolution."""
        return {spec.name: output.values() for spec, output in zip(self.specs, self.outputs)}

    def backward(self, gradient: Gradient, keep_dz: bool = True) -> Gradient:
        """Fills this block's parameter gradients and the sums of its input; returns the input's gradient, deferred.

        The stored output is overwritten with dz. Without keep_dz, dz is thrown away, and with it the input's gradient.
        """
        x, b, activated = self.x, self.buffers, self.activated
        if self.norm_first:
            gradient, activated = self._backward_activation(gradient), 0
        if not b.backward.is_for(x, gradient, keep_dz):
            check_gradient(self, gradient)
            source = gradient.source(self.workspace.dtype)
            workspace = self.workspace.for_kernel(gradient.depth, self.channels, self.depth, b.gradients)
            arguments = (
                Rows(b.e, self.row), keep_dz, self.gradients, source, x.tensor(), self._convolution(activated),
                self.parameters, self.norm, cut_of(b.layout), workspace,
            )  # fmt: skip
            b.backward.prepare((x, gradient, keep_dz), arguments)
        b.backward.run()
        if self.tap_count > 1:
            flip_taps(self.flipped_weight, self.parameters.weight, self.tap_count)
        return b.dx

    def _backward_activation(self, gradient: Gradient) -> Gradient:
        """For the order convolution, batch norm, activation: through that, before batch norm's backward can have its sums."""
        y = self.buffers.y
        return self.buffers.through_activation(gradient, y, self.activated, y, y)
