"""The part of a convolution's weight that counts on a small map."""

import numpy as np

from minisqx.kernels.blocks import select_taps, spread_taps
from minisqx.kernels.compiler.tasks import Task
from minisqx.kernels.geometry import Geometry
from minisqx.kernels.structures import Parameters
from minisqx.layers.part import NetworkPart
from minisqx.layers.workspace import Workspace


class LiveTaps(NetworkPart):
    """The weight of a block without the taps that lie outside the map for every pixel; on a map of one pixel one of nine is left.

    parameters, gradients: as the block's, with a weight of (channels, depth), depth = in_channels * live taps: the block's own
    weight if all taps are live, else a copy.
    """

    def __init__(self, geometry: Geometry, parameters: Parameters, gradients: Parameters):
        self.parameters, self.gradients = parameters, gradients
        self._select = self._spread = None
        if geometry.live != geometry:
            taps = np.arange(geometry.kernel_height * geometry.kernel_width)
            live = taps.reshape(geometry.kernel_height, geometry.kernel_width)[geometry.live_taps].ravel()
            shape = len(parameters.bias), parameters.weight.shape[1] // taps.size * live.size
            self.parameters, self.gradients = (
                each._replace(weight=np.empty(shape, each.weight.dtype)) for each in (parameters, gradients)
            )
            self._select = Task(select_taps).bind((self.parameters.weight, parameters.weight, live, taps.size))
            self._spread = Task(spread_taps).bind((gradients.weight, self.gradients.weight, live, taps.size))

    @property
    def depth(self) -> int:
        return self.parameters.weight.shape[1]

    def select(self, workspace: Workspace) -> None:
        """Copies the live taps' weight."""
        if self._select:
            workspace.run(self._select)

    def spread(self, workspace: Workspace) -> None:
        """Writes the block's gradient: that of the live taps, and 0 for the others."""
        if self._spread:
            workspace.run(self._spread)
