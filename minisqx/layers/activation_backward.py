"""Backward of an activation that is not fused into a convolution: after a residual sum, or after batch norm."""

import numpy as np

from minisqx.kernels import residual
from minisqx.kernels.layout import Layout
from minisqx.kernels.structures import Activated
from minisqx.layers.checks import check_gradient
from minisqx.layers.part import NetworkPart
from minisqx.layers.tensors import Activation, Gradient
from minisqx.layers.workspace import BoundCall, Workspace, cut_of


class ActivationBackward(NetworkPart):
    """ds = g f'(y), and the sums over each row that the batch norms of u and v need; see `kernels/residual.py`.

    layout: that of ds, u and v. ds: (chunks, channels, stride), written. activation: the number of f. sampled_size: (height,
    width) of the whole maps if ds, u and v hold only their samples, else None.
    """

    def __init__(
        self, workspace: Workspace, layout: Layout, ds: np.ndarray, activation: int, sampled_size: tuple[int, int] | None = None
    ):
        self.workspace, self.layout, self.ds, self.activation = workspace, layout, ds, activation
        self.chunk_sums = np.empty((layout.chunks, ds.shape[1], 3))
        self.call = BoundCall(residual.backward, workspace)
        self.ds_gradient = Gradient(stored=ds, sampled_size=sampled_size)

    def __call__(self, gradient: Gradient, y: Activation, activated: int, u: Activation, v: Activation) -> Gradient:
        """gradient: that of y, the output of f, whose first `activated` channels have an activation. Writes u.sums and v.sums."""
        if not self.call.is_prepared_for(gradient, y, u, v):
            check_gradient(self, gradient)
            workspace = self.workspace.for_kernel(gradient.depth, self.ds.shape[1], 1, self.chunk_sums)
            arguments = (
                self.ds, gradient.source(self.workspace.dtype), y.tensor(), Activated(self.activation, activated),
                u.tensor(), v.tensor(), cut_of(self.layout), workspace,
            )  # fmt: skip
            self.call.prepare((gradient, y, u, v), arguments)
        self.call.run()
        return self.ds_gradient
