"""SqueezeNext's bottleneck: five basic blocks and a shortcut, joined by a residual sum."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minisqx.kernels import residual
from minisqx.kernels.activation import check_activation, number_of
from minisqx.kernels.layout import Layout
from minisqx.kernels.structures import Sampling
from minisqx.layers.activation_backward import SumBackward
from minisqx.layers.basic_block import BasicBlock
from minisqx.layers.part import NetworkPart
from minisqx.layers.tensors import Activation, Gradient, apply_activation
from minisqx.layers.workspace import BoundCall, PerLayout, Workspace, cut_of
from minisqx.spec import BottleneckSpec


@dataclass
class SumBuffers:
    """The buffers of a residual sum for one batch shape.

    samples: copies of the samples of u and v, if only these are summed; else empty. summed: u and v as backward reads them, with
    the samples as data if there are any.
    """

    layout: Layout
    samples: list[np.ndarray]
    y: Activation
    forward: BoundCall
    activation_backward: SumBackward
    summed: tuple[Activation, ...] = ()


class ResidualSum(NetworkPart):
    """r = f(u + v). activation: the number of f. sampled: whether r is computed only at the pixels that stride 2 reads.

    `backward` also writes the sums that the batch norms of u and v need.
    """

    def __init__(self, channels: int, workspace: Workspace, activation: int, sampled: bool = False):
        self.channels, self.workspace, self.sampled = channels, workspace, sampled
        self.activation = check_activation(activation)
        self.buffers_for = PerLayout(self._make_buffers)

    def _make_buffers(self, inputs: Layout) -> SumBuffers:
        layout = inputs.resized(-(-inputs.height // 2), -(-inputs.width // 2)) if self.sampled else inputs
        r = self.workspace.empty(layout, self.channels)
        y = self.workspace.plain(r, layout)
        size = (inputs.height, inputs.width) if self.sampled else None
        samples = [self.workspace.empty(layout, self.channels) for _ in range(2)] if self.sampled else []
        activation_backward = SumBackward(self.workspace, layout, r, self.activation, size)
        return SumBuffers(layout, samples, y, BoundCall(residual.forward, self.workspace), activation_backward)

    def forward(self, u: Activation, v: Activation) -> Activation:
        """u, v: (N, C, H, W). Returns r, if sampled (N, C, (H + 1) // 2, (W + 1) // 2), nothing deferred."""
        self.u, self.v = u, v
        b = self.buffers = self.buffers_for(u.layout)
        if not b.forward.is_prepared_for(u, v):
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
        """Returns ds, which is the gradient of u and of v; r is overwritten with it."""
        b = self.buffers
        return b.activation_backward(gradient, *b.summed)


class Bottleneck(NetworkPart):
    """Five basic blocks and a shortcut, added. blocks[0] computes the first convolution and that of the shortcut together."""

    def __init__(self, spec: BottleneckSpec, blocks: list[BasicBlock], workspace: Workspace):
        # A tuple, because inference follows the spec and would ignore a block that is added here.
        self.spec, self.blocks, self.has_shortcut = spec, tuple(blocks), spec.shortcut is not None
        self.sum = ResidualSum(blocks[-1].channels, workspace, number_of(spec.activation), spec.sampled)
        self._joined_from: tuple[Gradient, Gradient] | None = None
        self._joined: Gradient

    def forward(self, x: Activation) -> Activation:
        """x: (N, in_channels, H, W). Returns the residual sum, see `ResidualSum.forward`."""
        self.blocks[0].forward(x)
        main, shortcut = self.blocks[0].outputs[0], self.blocks[0].outputs[1] if self.has_shortcut else x
        for block in self.blocks[1:]:
            main = block.forward(main)
        self.y = self.sum.forward(main, shortcut)
        return self.y

    def backward(self, gradient: Gradient) -> Gradient:
        """Runs the blocks' backward in reverse order. Returns the gradient of x: through the main path plus the shortcut."""
        ds = gradient = self.sum.backward(gradient)
        for block in reversed(self.blocks[1:]):
            gradient = block.backward(gradient)
        if self.has_shortcut:
            return self.blocks[0].backward(self._join(gradient, ds, "stored"))
        return self._join(self.blocks[0].backward(gradient), ds, "addend")

    def _join(self, product: Gradient, ds: Gradient, field: str) -> Gradient:
        """The product with ds as its field "stored" (rows after the product's) or "addend" (added to the product's rows).

        Returns the same object for the same arguments, so that the reader's prepared call stays valid.
        """
        if self._joined_from is None or self._joined_from[0] is not product or self._joined_from[1] is not ds:
            self._joined_from = (product, ds)
            fields: dict[str, Any] = {field: ds.stored}
            self._joined = replace(product, sampled_size=ds.sampled_size, **fields)
        return self._joined

    def values(self) -> dict[str, np.ndarray]:
        """Name -> output (N, C, H, W) of the last forward pass, for each basic block and for the sum, computed at all pixels."""
        first, *rest = (block.outputs for block in self.blocks)
        outputs = [first[0], *(output for outputs in rest for output in outputs), *first[1:]]
        found = {layer.name: output.values() for layer, output in zip(self.spec.layers, outputs)}
        # The forward pass does not compute pixels that a stride skips.
        total = apply_activation(self.sum.u.values() + self.sum.v.values(), self.sum.activation)
        step = 2 if self.sum.sampled else 1
        total[:, :, ::step, ::step] = self.y.values()
        return found | {self.spec.name: total}
