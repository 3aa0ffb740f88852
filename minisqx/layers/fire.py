"""SqueezeNet's fire module: three basic blocks, two of which write into one tensor."""

from dataclasses import dataclass, replace

import numpy as np

from minisqx.kernels.layout import Layout
from minisqx.layers.basic_block import BasicBlock
from minisqx.layers.checks import check_gradient
from minisqx.layers.part import NetworkPart
from minisqx.layers.tensors import Activation, Gradient
from minisqx.layers.workspace import PerLayout, Workspace, materialise
from minisqx.spec import FireSpec


@dataclass
class FireBuffers:
    """The buffers of a fire module for one batch shape.

    y: the concatenated output. dy: its gradient, materialised; dy1, dy3: its parts, for expand1 and expand3. from_expand1: the
    gradient of squeeze's output through expand1, materialised. dsqueezed: its sum with that through expand3, not materialised;
    made in the first backward.
    """

    y: Activation
    dy: np.ndarray
    dy1: Gradient
    dy3: Gradient
    from_expand1: np.ndarray
    dsqueezed: Gradient | None = None


class Fire(NetworkPart):
    """squeeze, then expand1 and expand3, which both read squeeze's output and write their channels side by side in one tensor."""

    def __init__(self, spec: FireSpec, blocks: list[BasicBlock], workspace: Workspace):
        self.spec, self.workspace = spec, workspace
        self.squeeze, self.expand1, self.expand3 = blocks
        self.buffers_for = PerLayout(self._make_buffers)

    def _make_buffers(self, layout: Layout) -> FireBuffers:
        concatenation, empty = self.expand1.concatenation, self.workspace.empty
        dy = empty(layout, concatenation.channels)
        return FireBuffers(
            y=self.workspace.plain(concatenation.data_for(layout), layout),
            dy=dy,
            dy1=Gradient(stored=dy),
            dy3=Gradient(stored=dy, stored_row=self.expand3.row),
            from_expand1=empty(layout, self.squeeze.channels),
        )

    def forward(self, x: Activation) -> Activation:
        """x: (N, C, H, W). Returns the channels of expand1 and then those of expand3, nothing deferred."""
        squeezed = self.squeeze.forward(x)
        self.expand1.forward(squeezed)
        self.expand3.forward(squeezed)
        self.layout = squeezed.layout
        return self.buffers_for(squeezed.layout).y

    def backward(self, gradient: Gradient) -> Gradient:
        """The two gradients of squeeze's output are added as squeeze's backward reads them. Returns the gradient of x."""
        check_gradient(self, gradient)
        b = self.buffers_for(self.layout)
        materialise(gradient, b.dy, self.layout, self.workspace)
        materialise(self.expand1.backward(b.dy1), b.from_expand1, self.layout, self.workspace)
        from_expand3 = self.expand3.backward(b.dy3)
        b.dsqueezed = b.dsqueezed or replace(from_expand3, addend=b.from_expand1)
        return self.squeeze.backward(b.dsqueezed)

    def values(self) -> dict[str, np.ndarray]:
        """Name -> output (N, C, H, W) of the last forward pass, for each basic block and for the module."""
        found = {block.name: block.outputs[0].values() for block in (self.squeeze, self.expand1, self.expand3)}
        return found | {self.spec.name: self.buffers_for(self.layout).y.values()}
