"""SqueezeNet's fire module."""

from dataclasses import dataclass, replace

import numpy as np

from minisqx.kernels.layout import Layout
from minisqx.layers.basic_block import BasicBlock
from minisqx.layers.checks import check_gradient
from minisqx.layers.part import Part
from minisqx.layers.tensors import Activation, Gradient
from minisqx.layers.workspace import PerLayout, Workspace, materialise
from minisqx.spec import FireSpec


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
