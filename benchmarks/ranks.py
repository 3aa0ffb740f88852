"""Training on several ranks beside one process, and beside what `minisqx scale-plan` predicts, in turns.

    mpiexec -n 2 python -m benchmarks.ranks --width 0.2
    mpiexec -n 2 python -m benchmarks.ranks --width 1.0

A rank has one thread, and the one process has as many as there are ranks, at most one a CPU. While the one process is measured,
the others sleep. The latency and the bandwidth of which the prediction is made are measured between the first two ranks.
"""

import argparse
import math
import os
import statistics
import time

import numpy as np

from minisqx.data import Loader
from minisqx.machine.ranks import ALONE
from minisqx.machine.threads import use_threads
from minisqx.mpi import MpiRanks, ranks_of_mpi
from minisqx.network import Network
from minisqx.spec import zoo
from minisqx.training import scaling
from minisqx.training.optim import SGD, cross_entropy

CALM = 0.002  # seconds between two looks of a rank that sleeps
PINGS, SMALL, LARGE = 200, 16, 8 << 20


class Run:
    """Steps of one network on one batch."""

    def __init__(self, spec, batch_size: int, ranks):
        self.network = Network(spec, ranks=ranks)
        self.optimizer = SGD(self.network, lr=0.01, momentum=0.9)
        images = np.random.default_rng(0).integers(0, 256, (batch_size, *spec.input_size, 3), dtype=np.uint8)
        half = (0.5, 0.5, 0.5)
        loader = Loader(images, np.arange(batch_size) % 10, batch_size, mean=half, std=half, augment="none", seed=0)
        (self.batch,) = loader.epoch(0, ranks=ranks)

    def steps(self, count: int) -> float:
        """Seconds of a step, the median of `count`."""
        taken = []
        for _ in range(count):
            began = time.perf_counter()
            logits = self.network.forward(self.batch, training=True)
            self.network.backward(cross_entropy(logits, self.batch.labels)[1])
            self.optimizer.step()
            taken.append(time.perf_counter() - began)
        return statistics.median(taken)


def first_alone(mpi, work) -> float:
    """work() on the first rank while the others sleep."""
    communicator = mpi.COMM_WORLD
    if communicator.rank == 0:
        found = work()
        for other in range(1, communicator.size):
            communicator.send(found, other, tag=7)
        return found
    while not communicator.Iprobe(0, 7):
        time.sleep(CALM)
    return communicator.recv(source=0, tag=7)


def one_way(mpi, size: int, count: int) -> float:
    """Seconds of a message of `size` bytes between the first two ranks, half a round trip; the least of several."""
    communicator, buffer, taken = mpi.COMM_WORLD, np.zeros(size, np.uint8), []
    communicator.Barrier()
    for _ in range(count):
        began = time.perf_counter()
        if communicator.rank == 0:
            communicator.Send(buffer, 1)
            communicator.Recv(buffer, 1)
        elif communicator.rank == 1:
            communicator.Recv(buffer, 0)
            communicator.Send(buffer, 0)
        taken.append((time.perf_counter() - began) / 2)
    return communicator.bcast(statistics.median(taken))


def measure(spec, batch_size: int, rounds: int, steps: int, ranks: MpiRanks) -> None:
    from mpi4py import MPI

    is_first, count = ranks.is_first, ranks.count
    together, threads = Run(spec, batch_size, ranks), min(count, os.cpu_count() or 1)
    alone = Run(spec, batch_size, ALONE) if is_first else None
    latency, bandwidth = 0.0, math.inf
    if count > 1:
        latency, bandwidth = one_way(MPI, SMALL, PINGS), LARGE / one_way(MPI, LARGE, 10)
    ratios, of_one, of_all, predictions, accuracies = [], [], [], [], []
    for number in range(rounds + 1):
        use_threads(threads)
        one = first_alone(MPI, lambda: alone.steps(steps))
        use_threads(1)
        all_ranks = together.steps(steps)
        # All at once, since they share this machine's memory.
        pretended = scaling.Pretended(count)
        computing = max(ranks.everyones(scaling.seconds_of_step(spec, batch_size, pretended)))
        exchanging = scaling.seconds_of_exchanges(pretended, latency, bandwidth)
        if number:  # the first round warms up
            of_one.append(one)
            of_all.append(all_ranks)
            ratios.append(one / all_ranks)
            predictions.append(computing + exchanging)
            accuracies.append(predictions[-1] / all_ranks)
    if is_first:
        measured, predicted = statistics.median(of_all), statistics.median(predictions)
        print(f"{spec.name}, batch {batch_size}, {rounds} rounds in turns of {steps} steps")
        print(f"  1 process x {threads} threads: {1e3 * statistics.median(of_one):.2f} ms a step")
        print(
            f"  {count} ranks x 1 thread: {1e3 * measured:.2f} ms; efficiency {statistics.median(ratios):.3f} (median of ratios)"
        )
        print(
            f"  latency {1e6 * latency:.1f} us, bandwidth {bandwidth / 1e9:.2f} GB/s, {len(pretended.exchanges)} exchanges,",
            end=" ",
        )
        print(f"{sum(pretended.exchanges) / 1e6:.2f} MB")
        print(
            f"  predicted: {1e3 * predicted:.2f} ms (exchanging {1e3 * exchanging:.2f}),"
            f" {statistics.median(accuracies):.2f} of the measured (median of ratios)"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranks", description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=float, default=0.2)
    parser.add_argument("--model", default=zoo.SHALLOW)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--steps", type=int, default=20)
    chosen = parser.parse_args()
    options = {"width": chosen.width} if chosen.model == zoo.SHALLOW else {}
    with ranks_of_mpi() as ranks:
        use_threads(min(ranks.count, os.cpu_count() or 1))  # the most that are used
        measure(zoo.network(chosen.model, **options), chosen.batch_size, chosen.rounds, chosen.steps, ranks)


if __name__ == "__main__":
    main()
