"""The moving average of a network's weights, which is evaluated and saved in place of the last weights."""

import copy

from minisqx.kernels import average
from minisqx.network import Network


class MovingAverage:
    """An exponential moving average of a network's parameters and running statistics.

    decay: the share of the average that a step keeps, at least 0 and below 1; 0.999 averages about the last 1,000 steps. After n
    steps it keeps at most (1 + n) / (10 + n), so that the initial weights are soon forgotten.
    network: a copy of the network with the averages as its parameters and buffers.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.decay, self.network, self._source = decay, copy.copy(network), network

    def update(self, steps: int) -> None:
        """Takes the network's present numbers into the average; steps: how many were taken before."""
        rate = 1 - min(self.decay, (1 + steps) / (10 + steps))
        average.step(self.network.flat_parameters, self._source.flat_parameters, rate)
        average.step(self.network.flat_buffers, self._source.flat_buffers, rate)
