"""The part of a convolution's weight that counts on a small map."""

import numpy as np

from minisqx.kernels.geometry import Geometry
from minisqx.kernels.structures import Parameters
from minisqx.layers.part import NetworkPart


class LiveTaps(NetworkPart):
    """The weight of a block without the taps that lie outside the map for every pixel; on a map of one pixel one of nine is left.

    parameters, gradients: as the block's, with a weight of (channels, depth), depth = in_channels * live taps: the block's own
    weight if all taps are live, else a copy.
    """

    def __init__(self, geometry: Geometry, parameters: Parameters, gradients: Parameters):
        self.parameters, self.gradients = parameters, gradients
        rows, columns = geometry.live_taps
        self._all, kernel = geometry.live == geometry, (geometry.kernel_height, geometry.kernel_width)
        # All taps, as they are stored, and views of the live ones.
        self._whole_gradient = gradients.weight
        self._weight, self._gradient = (
            each.weight.reshape(len(each.bias), -1, *kernel)[:, :, rows, columns] for each in (parameters, gradients)
        )
        if not self._all:
            shape = len(parameters.bias), self._weight[0].size
            self.parameters = parameters._replace(weight=np.empty(shape, parameters.weight.dtype))
            self.gradients = gradients._replace(weight=np.empty(shape, gradients.weight.dtype))

    @property
    def depth(self) -> int:
        return self.parameters.weight.shape[1]

    def select(self) -> None:
        """Copies the live taps' weight."""
        if not self._all:
            self.parameters.weight.reshape(self._weight.shape)[...] = self._weight

    def spread(self) -> None:
        """Writes the block's gradient: that of the live taps, and 0 for the others."""
        if not self._all:
            self._whole_gradient[...] = 0
            self._gradient[...] = self.gradients.weight.reshape(self._gradient.shape)
