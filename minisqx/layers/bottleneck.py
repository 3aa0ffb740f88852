"""The bottleneck of SqueezeNext: five basic blocks and a shortcut, and the residual sum that joins them."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minisqx.kernels import residual
from minisqx.kernels.activation import check_activation, number_of
from minisqx.kernels.layout import Layout
from minisqx.kernels.structures import Sampling
from minisqx.layers.basic_block import BasicBlock
from minisqx.layers.part import Part
from minisqx.layers.tensors import Activation, Gradient, activated
from minisqx.layers.through_activation import BackwardThroughActivation
from minisqx.layers.workspace import BoundCall, PerLayout, Workspace, cut_of
from minisqx.spec import BottleneckSpec


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
