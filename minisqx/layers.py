"""The layers: each has a `forward` and a `backward` written by hand, and remembers what backward needs.

Two things are deferred, because the neighbour can do them while the numbers are in cache anyway (see docs/design.md):

- A basic block returns its stored tensor with the scale and shift of its batch norm (`Activation`); the reader applies them.
- A layer's backward returns a description of its input's gradient (`Gradient`), usually "the product of this weight and
  that dz"; the layer before forms it.

A layer's arrays stay where they are from batch to batch, and so do its neighbours': for batches of one shape it returns the same
`Activation` and `Gradient` every time, and makes the same call (`BoundCall`), whose arguments are put together once.
"""

from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import accumulate
from operator import is_
from typing import Any

import numpy as np

from minisqx.errors import OptionError
from minisqx.kernels import convolution, counters, dropout, im2col, linear, max_pool, pooling, product, residual, structures
from minisqx.kernels.activation import NO_ACTIVATION, check_activation, entry_of, number_of
from minisqx.kernels.blocks import BLOCK, SCRATCH_STRIDE, flip_taps
from minisqx.kernels.im2col import Geometry, Taps
from minisqx.kernels.jit import bound
from minisqx.kernels.layout import Layout, aligned_empty
from minisqx.kernels.simd import VECTOR_BYTES
from minisqx.kernels.structures import Activated, Convolution, Cut, Folded, Norm, Parameters, Rows, Sampling, Source, Tensor
from minisqx.parts import Part
from minisqx.spec import AveragePoolSpec, BottleneckSpec, ConvolutionSpec, FireSpec, MaxPoolSpec
from minisqx.threads import most_threads


@dataclass(frozen=True)
class Activation(Part):
    """A tensor between two layers: y = f(data * scale + shift), the activation f only where it is still to be done.

    The tensor is rows row : row + channels of data (chunks, channels or more, stride). activation: the number of f
    (`kernels/activation.py`). sums: (channels, 2) float64, written by the reader's backward: sum g and sum g * data, g =
    dL/d(data * scale + shift).
    """

    data: np.ndarray
    layout: Layout
    row: int
    scale: np.ndarray
    shift: np.ndarray
    activation: int
    sums: np.ndarray

    def __post_init__(self) -> None:
        check_activation(self.activation)

    @property
    def channels(self) -> int:
        return self.scale.size

    def part(self, start: int, stop: int, activation: int) -> "Activation":
        """Some of the channels."""
        scale, shift = self.scale[start:stop], self.shift[start:stop]
        return Activation(self.data, self.layout, self.row + start, scale, shift, activation, self.sums[start:stop])

    def tensor(self) -> Tensor:
        """The same as kernels take it."""
        return Tensor(self.data, self.row, self.scale, self.shift, self.activation, self.sums)

    def values(self) -> np.ndarray:
        """(N, C, H, W), with everything that was deferred."""
        stored = self.layout.unpack(self.data[:, self.row : self.row + self.channels])
        y = stored * self.scale[:, None, None] + self.shift[:, None, None]
        return activated(y, self.activation)


def activated(y: np.ndarray, activation: int) -> np.ndarray:
    """The activation of a whole array, for tests and for inspection."""
    return y if activation == NO_ACTIVATION else entry_of(activation).values(y)


@cache
def no_taps(dtype) -> Taps:
    """What stands for the taps of a gradient that is no product."""
    return Taps(np.ones(10, np.int64), np.empty((0, 0), dtype), np.empty((0, 0), np.int32))


@dataclass(frozen=True)
class Gradient(Part):
    """The gradient of a tensor, before it is materialised: a product for its first rows, stored for the others, and an addend.

    weight: (out_channels * taps, rows) and dz, rows dz_row : dz_row + out_channels of (chunks, out_channels or more, stride), of
    the layer that read the tensor; taps: of its transposed geometry. The other rows are those of `stored` from stored_row on.
    sampled_size: (height, width) of the tensor where stored and addend hold only its samples.
    """

    weight: np.ndarray | None = None
    dz: np.ndarray | None = None
    dz_row: int = 0
    taps: Taps | None = None
    stored: np.ndarray | None = None
    stored_row: int = 0
    addend: np.ndarray | None = None
    sampled_size: tuple[int, int] | None = None

    @property
    def depth(self) -> int:
        """Rows of scratch that the product takes."""
        return 0 if self.weight is None else max(self.weight.shape)

    def source(self, dtype) -> Source:
        """What the kernels take; parts that are absent become empty arrays."""
        none = np.empty((0, 0, 0), dtype)
        weight = np.empty((0, 0), dtype) if self.weight is None else self.weight
        return Source(
            weight.shape[1],
            weight,
            none if self.dz is None else self.dz,
            self.dz_row,
            *(self.taps or no_taps(dtype)),
            none if self.stored is None else self.stored,
            self.stored_row,
            self.addend is not None,
            none if self.addend is None else self.addend,
            self.sampled_size is not None,
            *(self.sampled_size or (0, 0)),
        )


class Workspace(Part):
    """What all layers of a network share: the dtype, rows of zeros and ones, and a scratch for each thread."""

    def __init__(self, dtype):
        self.dtype = np.dtype(dtype)
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


def check_input(layer: Part, x: object, channels: int, dtype: np.dtype) -> None:
    """Raises OptionError unless x is what the layer before may hand on."""
    if not isinstance(x, Activation):
        raise OptionError(
            f"{layer!r}.forward of {_described(x)}: expected the Activation that the layer before returns; give arrays to"
            " the network's own forward"
        )
    if x.channels != channels or x.data.dtype != dtype:
        given = f"{x.channels} channels of {x.data.dtype}"
        raise OptionError(f"{layer!r}.forward of an Activation of {given}: expected {channels} channels of {dtype}")


def check_gradient(layer: Part, gradient: object) -> None:
    """Raises OptionError unless gradient is what the layer after may hand back."""
    if not isinstance(gradient, Gradient):
        raise OptionError(
            f"{layer!r}.backward of {_described(gradient)}: expected the Gradient that the layer after returns; give arrays to"
            " the network's own backward"
        )


def check_array(layer: Part, call: str, array: Any, shape: tuple, dtype: np.dtype) -> None:
    """Raises OptionError unless array is contiguous, of that dtype and shape (None: any length)."""
    fits = isinstance(array, np.ndarray) and array.dtype == dtype and array.flags.c_contiguous and array.ndim == len(shape)
    if not fits or any(length not in (None, given) for length, given in zip(shape, array.shape)):
        expected = ", ".join("N" if length is None else str(length) for length in shape)
        raise OptionError(f"{layer!r}.{call} of {_described(array)}: expected a contiguous array {dtype} of shape ({expected})")


def _described(given: object) -> str:
    if isinstance(given, np.ndarray):
        return f"an array {given.dtype} of shape {given.shape}"
    return f"a {type(given).__name__}"


class Concatenation(Part):
    """A tensor of `rows` channels in which several blocks write side by side."""

    def __init__(self, rows: int, workspace: Workspace):
        self.rows = rows
        self.kept = PerLayout(lambda layout: workspace.empty(layout, rows))


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


class BackwardThroughActivation(Part):
    """ds = g f'(y), f the activation of that number, with the row sums of u and v; see `kernels/residual.py`.

    layout: of ds, u and v. sampled_size: (height, width) of the maps of which these are only the samples.
    """

    def __init__(
        self, workspace: Workspace, layout: Layout, ds: np.ndarray, activation: int, sampled_size: tuple[int, int] | None = None
    ):
        self.workspace, self.layout, self.ds, self.activation = workspace, layout, ds, activation
        self.chunk_sums = np.empty((layout.chunks, ds.shape[1], 3))
        self.call = BoundCall(residual.backward)
        self.ds_gradient = Gradient(stored=ds, sampled_size=sampled_size)

    def __call__(self, gradient: Gradient, y: Activation, activated: int, u: Activation, v: Activation) -> Gradient:
        """y: the output of f, of which the first `activated` channels have f. u, v: of which the sums are written."""
        if not self.call.is_for(gradient, y, u, v):
            check_gradient(self, gradient)
            workspace = self.workspace.for_kernel(gradient.depth, self.ds.shape[1], 1, self.chunk_sums)
            arguments = (
                self.ds, gradient.source(self.workspace.dtype), y.tensor(), Activated(self.activation, activated),
                u.tensor(), v.tensor(), cut_of(self.layout), workspace,
            )  # fmt: skip
            self.call.prepare((gradient, y, u, v), arguments)
        self.call.run()
        return self.ds_gradient


@dataclass
class SumBuffers:
    """What a residual sum needs for batches of one shape. samples: of u and v, if only those are summed.

    summed: u and v as backward reads them, made of those that forward was given.
    """

    layout: Layout
    samples: list[np.ndarray]
    y: Activation
    forward: BoundCall
    through_activation: BackwardThroughActivation
    summed: tuple[Activation, ...] = ()


class ResidualSum(Part):
    """r = f(u + v), f the activation of that number; backward hands ds to both and gives their batch norms the sums they need.

    sampled: whether r is summed only where a layer with stride 2 reads it.
    """

    def __init__(self, channels: int, workspace: Workspace, activation: int, sampled: bool = False):
        self.channels, self.workspace, self.sampled = channels, workspace, sampled
        self.activation = check_activation(activation)
        self.kept = PerLayout(self._buffers)

    def _buffers(self, inputs: Layout) -> SumBuffers:
        layout = inputs.resized(-(-inputs.height // 2), -(-inputs.width // 2)) if self.sampled else inputs
        r = self.workspace.empty(layout, self.channels)
        y = self.workspace.plain(r, layout)
        size = (inputs.height, inputs.width) if self.sampled else None
        samples = [self.workspace.empty(layout, self.channels) for _ in range(2)] if self.sampled else []
        through_activation = BackwardThroughActivation(self.workspace, layout, r, self.activation, size)
        return SumBuffers(layout, samples, y, BoundCall(residual.forward), through_activation)

    def forward(self, u: Activation, v: Activation) -> Activation:
        self.u, self.v = u, v
        b = self.buffers = self.kept(u.layout)
        if not b.forward.is_for(u, v):
            samples = b.samples or (u.data, v.data)
            b.summed = (u, v)
            if self.sampled:
                b.summed = tuple(replace(x, data=data, row=0, layout=b.layout) for x, data in zip((u, v), samples))
            sampling = Sampling(self.sampled, u.layout.height, u.layout.width)
            arguments = (
                b.y.data, u.tensor(), v.tensor(), self.activation, cut_of(b.layout), sampling, *samples,
                self.workspace.for_kernel(columns=1),
            )  # fmt: skip
            b.forward.prepare((u, v), arguments)
        b.forward.run()
        return b.y

    def backward(self, gradient: Gradient) -> Gradient:
        """The gradient of u and of v, stored in the place of r."""
        b = self.buffers
        return b.through_activation(gradient, b.y, self.channels, *b.summed)


class Bottleneck(Part):
    """Five basic blocks and a shortcut, added. `blocks[0]` computes the first convolution and the shortcut's together."""

    def __init__(self, spec: BottleneckSpec, blocks: list[BasicBlock], workspace: Workspace):
        # A tuple: inference follows the description, so a block that is added here would be passed over there.
        self.spec, self.blocks, self.has_shortcut = spec, tuple(blocks), spec.shortcut is not None
        self.sum = ResidualSum(blocks[-1].channels, workspace, number_of(spec.activation), spec.sampled)
        self._of: tuple[Gradient, Gradient] | None = None
        self._both: Gradient

    def forward(self, x: Activation) -> Activation:
        self.blocks[0].forward(x)
        main, shortcut = self.blocks[0].outputs[0], self.blocks[0].outputs[1] if self.has_shortcut else x
        for block in self.blocks[1:]:
            main = block.forward(main)
        self.y = self.sum.forward(main, shortcut)
        return self.y

    def backward(self, gradient: Gradient) -> Gradient:
        of_sum = gradient = self.sum.backward(gradient)
        for block in reversed(self.blocks[1:]):
            gradient = block.backward(gradient)
        if self.has_shortcut:
            return self.blocks[0].backward(self._joined(gradient, of_sum, "stored"))
        return self._joined(self.blocks[0].backward(gradient), of_sum, "addend")

    def _joined(self, product: Gradient, of_sum: Gradient, place: str) -> Gradient:
        """Both in one: what comes from the sum stands beside the product (`stored`) or is added to it (`addend`)."""
        if self._of is None or self._of[0] is not product or self._of[1] is not of_sum:
            self._of = (product, of_sum)
            parts: dict[str, Any] = {place: of_sum.stored}
            self._both = replace(product, sampled_size=of_sum.sampled_size, **parts)
        return self._both

    def values(self) -> dict[str, np.ndarray]:
        """By name the output (N, C, H, W) of every block and of the sum, of the last forward pass."""
        first, *rest = (block.outputs for block in self.blocks)
        outputs = [first[0], *(output for outputs in rest for output in outputs), *first[1:]]
        found = {layer.name: output.values() for layer, output in zip(self.spec.layers, outputs)}
        # Pixels that a stride skips have no reader, and are computed here alone.
        total = activated(self.sum.u.values() + self.sum.v.values(), self.sum.activation)
        step = 2 if self.sum.sampled else 1
        total[:, :, ::step, ::step] = self.y.values()
        return found | {self.spec.name: total}


@dataclass
class FireBuffers:
    """What a fire module needs for batches of one shape. joint: the gradient of `squeezed`, once expand3's is known."""

    y: Activation
    gradient: np.ndarray
    of_expand: tuple[Gradient, Gradient]
    squeezed: np.ndarray
    joint: Gradient | None = None


class Fire(Part):
    """SqueezeNet's fire module: squeeze, then expand1 and expand3, which write side by side in one tensor."""

    def __init__(self, spec: FireSpec, blocks: list[BasicBlock], workspace: Workspace):
        self.spec, self.workspace = spec, workspace
        self.squeeze, self.expand1, self.expand3 = blocks
        self.kept = PerLayout(self._buffers)

    def _buffers(self, layout: Layout) -> FireBuffers:
        concatenation, empty = self.expand1.concatenation, self.workspace.empty
        gradient = empty(layout, concatenation.rows)
        return FireBuffers(
            y=self.workspace.plain(concatenation.kept(layout), layout),
            gradient=gradient,
            of_expand=(Gradient(stored=gradient), Gradient(stored=gradient, stored_row=self.expand3.row)),
            squeezed=empty(layout, self.squeeze.channels),
        )

    def forward(self, x: Activation) -> Activation:
        squeezed = self.squeeze.forward(x)
        self.expand1.forward(squeezed)
        self.expand3.forward(squeezed)
        self.layout = squeezed.layout
        return self.kept(squeezed.layout).y

    def backward(self, gradient: Gradient) -> Gradient:
        check_gradient(self, gradient)
        b = self.kept(self.layout)
        materialise(gradient, b.gradient, self.layout, self.workspace)
        materialise(self.expand1.backward(b.of_expand[0]), b.squeezed, self.layout, self.workspace)
        of_expand3 = self.expand3.backward(b.of_expand[1])
        b.joint = b.joint or replace(of_expand3, addend=b.squeezed)
        return self.squeeze.backward(b.joint)

    def values(self) -> dict[str, np.ndarray]:
        """By name the output (N, C, H, W) of every convolution and of the module, of the last forward pass."""
        found = {block.name: block.outputs[0].values() for block in (self.squeeze, self.expand1, self.expand3)}
        return found | {self.spec.name: self.kept(self.layout).y.values()}


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


class Dropout(Part):
    """Zeroes elements at random and scales the rest; the mask is drawn from (seed, step, image, element), see
    `kernels/dropout.py`. `step` is set before each forward pass.
    """

    def __init__(self, probability: float, seed: int, channels: int, workspace: Workspace):
        self.probability, self.seed, self.channels, self.workspace = probability, seed, channels, workspace
        self.step = 0
        self.kept = PerLayout(self._buffers)

    def _buffers(self, layout: Layout) -> tuple[Activation, Gradient]:
        out, dx = (self.workspace.empty(layout, self.channels) for _ in range(2))
        return self.workspace.plain(out, layout), Gradient(stored=dx)

    def forward(self, x: Activation) -> Activation:
        check_input(self, x, self.channels, self.workspace.dtype)
        self.layout = x.layout
        if self.probability == 0:
            return x
        y, self.dx = self.kept(x.layout)
        self._apply(y.data, x)
        return y

    def backward(self, gradient: Gradient) -> Gradient:
        check_gradient(self, gradient)
        if self.probability == 0:
            return gradient
        dy = materialise(gradient, self.dx.stored, self.layout, self.workspace)
        self._apply(dy, self.workspace.plain(dy, self.layout))
        return self.dx

    def _apply(self, out: np.ndarray, x: Activation) -> None:
        key = counters.stream(self.seed, counters.DROPOUT, self.step)
        dropout.apply(out, x.tensor(), self.probability, key, cut_of(self.layout))


def materialise(gradient: Gradient, out: np.ndarray, layout: Layout, workspace: Workspace) -> np.ndarray:
    """Writes a deferred gradient into `out` (chunks, channels, stride)."""
    workspace_of_kernel = workspace.for_kernel(gradient.depth, out.shape[1])
    convolution.input_gradient(out, gradient.source(workspace.dtype), cut_of(layout), workspace_of_kernel)
    return out


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


class Linear(Part):
    """logits = features weight^T + bias."""

    def __init__(self, weight, bias, dweight, dbias):
        self.weight, self.bias, self.dweight, self.dbias = weight, bias, dweight, dbias

    def forward(self, features: np.ndarray) -> np.ndarray:
        check_array(self, "forward", features, (None, self.weight.shape[1]), self.weight.dtype)
        self.features = features
        logits = np.empty((len(features), len(self.bias)), features.dtype)
        linear.forward(logits, features, self.weight, self.bias)
        return logits

    def backward(self, dlogits: np.ndarray) -> np.ndarray:
        check_array(self, "backward", dlogits, (len(self.features), len(self.bias)), self.weight.dtype)
        dfeatures = np.empty_like(self.features)
        linear.backward(dfeatures, self.dweight, self.dbias, dlogits, self.features, self.weight)
        return dfeatures
