"""The basic block: convolution, activation and batch norm in one layer, computed by one kernel forward and one backward."""

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from minisqx.errors import OptionError
from minisqx.kernels import convolution
from minisqx.kernels.activation import NO_ACTIVATION, number_of
from minisqx.kernels.blocks import flip_taps
from minisqx.kernels.compiler.tasks import Call, Task
from minisqx.kernels.geometry import Geometry, Taps
from minisqx.kernels.layout import Layout
from minisqx.kernels.structures import EPSILON, SCRATCH_STRIDE, Convolution, Folded, Norm, Output, Parameters, Rows
from minisqx.kernels.tiles.simd import VECTOR_BYTES
from minisqx.layers.activation_backward import NormActivationBackward
from minisqx.layers.checks import check_gradient, check_input
from minisqx.layers.live_taps import LiveTaps
from minisqx.layers.part import NetworkPart
from minisqx.layers.tensors import Activation, Gradient
from minisqx.layers.workspace import BoundCall, PerLayout, Workspace, cut_of
from minisqx.spec import ConvolutionSpec


class Concatenation(NetworkPart):
    """A tensor with this many channels into which several blocks write, side by side.

    data_for(layout) is its data (chunks, channels, stride).
    """

    def __init__(self, channels: int, workspace: Workspace):
        self.channels = channels
        self.data_for = PerLayout(lambda layout: workspace.empty(layout, channels))


@dataclass
class BlockBuffers:
    """The buffers of a basic block for one batch shape.

    layout: that of the output. pixels: int64 (chunks,). e: the tensor that stores the output, (chunks, channels or more, stride).
    live: the weight of the taps that count, and its gradient. flip: the call that writes `flipped_weight`, or None.
    moments: (chunks, 2, channels or, without batch norm, 0) float64, each chunk's means and sums of squared deviations.
    gradients: (chunks, channels, in_channels * taps + taps), each chunk's gradients of weight and bias, tap by tap.
    dz: the gradient of the convolution's output. y: what `forward` returns; parts: its channels of each convolution. dx: what
    `backward` returns.
    """

    layout: Layout
    pixels: np.ndarray
    taps: Taps
    e: np.ndarray
    live: LiveTaps
    flip: Call | None
    moments: np.ndarray
    gradients: np.ndarray
    y: Activation
    parts: list[Activation]
    dz: Rows
    dx: Gradient
    forward: BoundCall
    backward: BoundCall
    activation_backward: NormActivationBackward


class BasicBlock(NetworkPart):
    """Convolution, activation and batch norm in the spec's order, fused; see `kernels/convolution.py`.

    specs: one convolution, or the first one of a bottleneck and its shortcut, which read the same input and are computed as one
    convolution with the channels of both. parameters, gradients: views of the network's buffers; `backward` writes the gradients.
    running_mean, running_var: (channels,), views, too; `forward` updates them. concatenation, row: the tensor that stores the
    output and its first row there; None: a tensor of its own.
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
        self.workspace, self.number = workspace, next(workspace.numbers)
        self.has_norm, self.norm_first = spec.has_norm, spec.order == "conv-bn-act"
        self.channels = sum(s.out_channels for s in specs)
        self.concatenation, self.row = concatenation or Concatenation(self.channels, workspace), row
        # Only a shortcut may lack the activation, and its channels come last.
        self.activation = number_of(spec.activation)
        self.activated = sum(s.out_channels for s in specs if s.activation)
        depth, dtype = spec.in_channels * spec.kernel[0] * spec.kernel[1], workspace.dtype
        # Rows of scratch for the moments, three vectors per channel.
        self.moment_rows = -(-3 * self.channels * (VECTOR_BYTES // dtype.itemsize) // SCRATCH_STRIDE)
        self.folded_weight, self.folded_bias = np.empty(depth * self.channels, dtype), np.empty(self.channels, dtype)
        self.flipped_weight = np.empty(depth * self.channels, dtype)
        self.norm = Norm(
            mean=np.empty(self.channels),
            variance=np.empty(self.channels),
            running_mean=running_mean,
            running_var=running_var,
            scale=np.ones(self.channels, dtype),
            shift=np.zeros(self.channels, dtype),
            sums=np.empty((self.channels, 2)),
            coefficients=np.empty((3, self.channels), dtype),
        )
        self.x: Any = None
        self.is_frozen = False
        self.buffers_for = PerLayout(self._make_buffers)

    def freeze(self) -> None:
        """From now on `forward` normalises with the running statistics and leaves them as they are; there is no backward."""
        self.is_frozen, self.buffers_for = True, PerLayout(self._make_buffers)

    def fix_norm(self) -> None:
        """Before a frozen block's `forward`: writes the scale and shift that follow from the running statistics."""
        if self.has_norm:
            norm, parameters = self.norm, self.parameters
            scale = parameters.gamma / np.sqrt(norm.running_var.astype(np.float64) + EPSILON)
            norm.scale[:], norm.shift[:] = scale, parameters.beta - norm.running_mean * scale

    def _make_buffers(self, inputs: Layout) -> BlockBuffers:
        """The buffers for an input of this layout."""
        spec, size, dtype = self.specs[0], (inputs.height, inputs.width), self.workspace.dtype
        layout = inputs.resized(*spec.size_after(size))
        measures = self.has_norm and not self.is_frozen
        if measures and layout.images * layout.map_pixels < 2:
            raise OptionError(
                f"{spec.name} has one value per channel in this batch, and batch norm needs two: use a larger batch or image"
            )
        self.workspace.constants(max(layout.stride, inputs.stride, self.channels))
        geometry = Geometry.of(spec.kernel, spec.stride, spec.padding, size, (layout.height, layout.width))
        live = LiveTaps(geometry, self.parameters, self.gradients)
        geometry, depth = geometry.live, live.depth
        tap_count = depth // spec.in_channels
        flipped = self.flipped_weight[: depth * self.channels].reshape(self.channels * tap_count, spec.in_channels)
        chunks, channels = layout.chunks, self.channels
        e, transposed = self.concatenation.data_for(layout), geometry.transposed.taps(inputs, dtype)
        deferred = self.activation if self.norm_first else NO_ACTIVATION
        y = Activation(e, layout, self.row, self.norm.scale, self.norm.shift, deferred, self.norm.sums)
        # dz is written in the place of e, or in that of the gradient of an activation that comes after the batch norm.
        ds = self.workspace.passing(self.number, layout, channels if self.norm_first else 0)
        dz = Rows(ds, 0) if self.norm_first else Rows(e, self.row)
        starts = accumulate((s.out_channels for s in self.specs), initial=0)
        return BlockBuffers(
            layout=layout,
            pixels=np.array([layout.pixels(chunk) for chunk in range(chunks)], np.int64),
            taps=geometry.taps(layout, dtype),
            e=e,
            live=live,
            flip=Task(flip_taps).bind((flipped, live.parameters.weight, tap_count)) if tap_count > 1 else None,
            moments=np.empty((chunks, 2, channels if measures else 0)),
            gradients=np.empty((chunks, channels, depth + tap_count), dtype),
            y=y,
            parts=[
                y.part(at, at + s.out_channels, deferred if s.activation else NO_ACTIVATION) for at, s in zip(starts, self.specs)
            ],
            dz=dz,
            dx=Gradient(flipped if tap_count > 1 else live.parameters.weight, *dz, transposed),
            forward=BoundCall(convolution.forward, self.workspace),
            backward=BoundCall(convolution.backward, self.workspace),
            activation_backward=NormActivationBackward(self.workspace, layout, ds, self.activation),
        )

    def forward(self, x: Activation) -> Activation:
        """x: (N, in_channels, H, W). Returns y with batch norm (and f, if it comes last) deferred. Updates the statistics."""
        if x is not self.x:
            check_input(self, x, self.specs[0].in_channels, self.workspace.dtype)
        self.x, self.buffers = x, self.buffers_for(x.layout)
        b = self.buffers
        if not b.forward.is_prepared_for(x):
            zeros, ones = self.workspace.constants(0)
            # The reader applies an activation that comes after the batch norm.
            computed = self._convolution(0 if self.norm_first else self.activated)
            parameters = b.live.parameters
            if self.is_frozen:
                # To the kernel a frozen block has no batch norm: what `fix_norm` wrote, the reader applies.
                nothing = np.empty(0, self.workspace.dtype)
                parameters = parameters._replace(gamma=nothing, beta=nothing)
            arguments = (
                Rows(b.e, self.row), self.norm, x.tensor(), parameters, computed, b.pixels,
                Folded(self.folded_weight, self.folded_bias, ones, zeros),
                self.workspace.for_kernel(columns=b.live.depth + self.moment_rows, by_chunk=b.moments),
            )  # fmt: skip
            b.forward.prepare((x,), arguments)
        b.live.select(self.workspace)
        b.forward.run()
        return b.y

    def backward(self, gradient: Gradient, keep_dz: bool = True) -> Gradient:
        """Writes the parameter gradients and x.sums. Returns the gradient of x, deferred.

        The stored output is overwritten with dz, unless an activation comes after the batch norm. With keep_dz=False, for a
        network's first layer, dz is not stored and the returned gradient is invalid.
        """
        x, b, activated = self.x, self.buffers, self.activated
        if self.norm_first:
            gradient, activated = self._backward_activation(gradient), 0
        if not b.backward.is_prepared_for(x, gradient, keep_dz):
            check_gradient(self, gradient)
            source = gradient.source(self.workspace.dtype)
            total = self.workspace.total(*b.gradients.shape[1:])
            workspace = self.workspace.for_kernel(gradient.depth, self.channels, b.live.depth, b.gradients, total)
            arguments = (
                Output(b.e, self.row, b.dz.data, b.dz.row, keep_dz), b.live.gradients, source, x.tensor(),
                self._convolution(activated), b.live.parameters, self.norm, cut_of(b.layout), workspace,
            )  # fmt: skip
            b.backward.prepare((x, gradient, keep_dz), arguments)
        b.backward.run()
        b.live.spread(self.workspace)
        if b.flip:
            self.workspace.run(b.flip)
        return b.dx

    def _convolution(self, activated: int) -> Convolution:
        """The structure that kernels take, with an activation on the first `activated` channels."""
        geometry, inside, index = self.buffers.taps
        inputs, outputs = self.specs[0].in_channels, self.channels
        return Convolution(geometry, inside, index, inputs, outputs, self.activation, activated)

    def _backward_activation(self, gradient: Gradient) -> Gradient:
        """Backward of an activation that comes after the batch norm, whose backward needs sums of the result."""
        return self.buffers.activation_backward(gradient, self.buffers.y, self.activated)

    @property
    def outputs(self) -> list[Activation]:
        """The output of the last forward pass, one for each convolution in `specs`."""
        return self.buffers.parts

    def values(self) -> dict[str, np.ndarray]:
        """Name -> output (N, C, H, W) of the last forward pass, for each convolution in `specs`."""
        return {spec.name: output.values() for spec, output in zip(self.specs, self.outputs)}
