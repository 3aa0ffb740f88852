"""Backward of an activation that is not fused into a convolution: after a residual sum, or after batch norm."""

import numpy as np

from minisqx.kernels import norm_activation, residual
from minisqx.kernels.compiler.tasks import Task
from minisqx.kernels.layout import Layout
from minisqx.kernels.structures import SCRATCH_STRIDE, Activated
from minisqx.kernels.tiles.simd import VECTOR_BYTES
from minisqx.layers.checks import check_gradient
from minisqx.layers.part import NetworkPart
from minisqx.layers.tensors import Activation, Gradient
from minisqx.layers.workspace import BoundCall, Workspace, cut_of


class ActivationBackward(NetworkPart):
    """ds = g f'(y), and the sums over each row that batch norms need.

    layout: that of ds. ds: (chunks, channels, stride), written. activation: the number of f. sums: for each row and chunk.
    """

    def __init__(self, task: Task, workspace: Workspace, layout: Layout, ds: np.ndarray, activation: int, sums: int):
        self.workspace, self.layout, self.ds, self.activation = workspace, layout, ds, activation
        self.chunk_sums = np.empty((layout.chunks, ds.shape[1], sums))
        self.call = BoundCall(task, workspace)
        self.ds_gradient = Gradient(stored=ds)

    def _run(self, gradient: Gradient, inputs: tuple, arguments: tuple, columns: int) -> Gradient:
        """Runs the kernel on ds, the gradient's source and `arguments`, which follow from `inputs`. columns: rows of scratch."""
        if not self.call.is_prepared_for(gradient, *inputs):
            check_gradient(self, gradient)
            workspace = self.workspace.for_kernel(gradient.depth, self.ds.shape[1], columns, self.chunk_sums)
            source = gradient.source(self.workspace.dtype)
            self.call.prepare((gradient, *inputs), (self.ds, source, *arguments, cut_of(self.layout), workspace))
        self.call.run()
        return self.ds_gradient


class SumBackward(ActivationBackward):
    """After a residual sum, in whose place ds is written; see `kernels/residual.py`.

    sampled_size: (height, width) of the whole maps if ds, u and v hold only their samples, else None.
    """

    def __init__(self, workspace: Workspace, layout: Layout, ds: np.ndarray, activation: int, sampled_size=None):
        super().__init__(residual.backward, workspace, layout, ds, activation, sums=3)
        self.ds_gradient = Gradient(stored=ds, sampled_size=sampled_size)

    def __call__(self, gradient: Gradient, u: Activation, v: Activation) -> Gradient:
        """gradient: that of f(u + v). Writes u.sums and v.sums."""
        return self._run(gradient, (u, v), (self.activation, u.tensor(), v.tensor()), columns=0)


class NormActivationBackward(ActivationBackward):
    """After batch norm; see `kernels/norm_activation.py`."""

    def __init__(self, workspace: Workspace, layout: Layout, ds: np.ndarray, activation: int):
        super().__init__(norm_activation.backward, workspace, layout, ds, activation, sums=2)

    def __call__(self, gradient: Gradient, y: Activation, activated: int) -> Gradient:
        """gradient: that of y, whose first `activated` channels have an activation. Writes y.sums."""
        lanes = 2 * y.channels * (VECTOR_BYTES // self.workspace.dtype.itemsize)
        arguments = y.tensor(), Activated(self.activation, activated)
        return self._run(gradient, (y,), arguments, columns=-(-lanes // SCRATCH_STRIDE))
