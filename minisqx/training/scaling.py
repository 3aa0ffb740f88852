"""What several ranks would gain, before one has them: `minisqx scale-plan`.

A step of N ranks takes its own computing and its exchanges:

    T(N) = C(N) + sum over the exchanges of (ceil(log2 N) latency + bytes (N - 1) / N / bandwidth)

C(N), which has also what each rank computes again (the sums of all chunks, the classifier, the step), is measured here: this
process computes what the first of N ranks would, with zeros in the place of what the others would send. What is exchanged, and
how much, follows from the network's own stages. Latency and bandwidth are the user's, of the network between the hosts.
"""

import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from minisqx.data.loader import Loader
from minisqx.kernels.layout import Layout
from minisqx.machine.ranks import Ranks
from minisqx.network import Network
from minisqx.spec import NetworkSpec
from minisqx.training.optim import SGD, cross_entropy

WARM, LEAST_STEPS = 2, 3
SECONDS = 1.0  # of steps that are measured for each number of ranks


class Pretended(Ranks):
    """The first of `count` ranks, alone."""

    def __init__(self, count: int):
        self.count = count
        self._arrays: dict[int, np.ndarray] = {}

    def gathering(self, array: np.ndarray, rows: int) -> None:
        if self.count > 1 and array.size and id(array) not in self._arrays:
            array[...] = 0
            self._arrays[id(array)] = array

    @property
    def exchanges(self) -> list[int]:
        """The bytes of each array that would be gathered in a step."""
        return [array.nbytes for array in self._arrays.values()]


@dataclass(frozen=True)
class Scaling:
    """A step on several ranks. computing, exchanging: seconds. exchanges, moved: how many there are, and bytes of all."""

    ranks: int
    computing: float
    exchanging: float
    exchanges: int
    moved: int

    @property
    def step(self) -> float:
        """Seconds."""
        return self.computing + self.exchanging


def plan(spec: NetworkSpec, batch_size: int, ranks: int, latency: float, bandwidth: float) -> Iterator[Scaling]:
    """A step on 1, 2, 4, ... and `ranks` ranks, at most as many as a batch has chunks.

    latency: seconds of a message. bandwidth: bytes a second that a rank can receive. The threads are those of a rank.
    """
    chunks = Layout.of_batch(batch_size, *spec.input_size, np.float32, spec.larger_chunks).chunks
    most = min(ranks, chunks)
    for count in sorted({*(2**power for power in range(most.bit_length())), most}):
        pretended = Pretended(count)
        computing = seconds_of_step(spec, batch_size, pretended)
        exchanging = seconds_of_exchanges(pretended, latency, bandwidth)
        yield Scaling(count, computing, exchanging, len(pretended.exchanges), sum(pretended.exchanges))


def seconds_of_exchanges(ranks: Pretended, latency: float, bandwidth: float) -> float:
    """The time of a step's exchanges, by the formula above."""
    hops, moved = math.ceil(math.log2(ranks.count)), sum(ranks.exchanges)
    return len(ranks.exchanges) * hops * latency + moved * (ranks.count - 1) / ranks.count / bandwidth


def seconds_of_step(spec: NetworkSpec, batch_size: int, ranks: Ranks) -> float:
    """The median of the times of some steps."""
    network = Network(spec, ranks=ranks)
    optimizer = SGD(network, lr=0.0)
    images = np.random.default_rng(0).integers(0, 256, (batch_size, *spec.input_size, 3), dtype=np.uint8)
    labels = np.arange(batch_size) % spec.num_classes
    half = (0.5, 0.5, 0.5)
    loader = Loader(
        images, labels, batch_size, mean=half, std=half, augment="none", seed=0, larger_chunks=spec.larger_chunks
    )  # fmt: skip
    (batch,) = loader.epoch(0)
    taken: list[float] = []
    while len(taken) < WARM + LEAST_STEPS or sum(taken[WARM:]) < SECONDS:
        began = time.perf_counter()
        network.backward(cross_entropy(network.forward(batch, training=True), batch.labels)[1])
        optimizer.step()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken[WARM:])
