"""minisqx: a network's plan on a packed batch, which is its own layout."""

import pickle
from pathlib import Path

import numpy as np

from benchmarks.engines.engine import Engine, Network, Size


class Ours(Engine):
    ending = "pickle"

    @staticmethod
    def write(network: Network, file: Path, samples: np.ndarray, precision: str) -> None:
        file.write_bytes(pickle.dumps((network.spec, network.state)))

    def __init__(self, file: Path, size: Size, batch_size: int, threads: int) -> None:
        import minisqx
        from minisqx.machine.threads import use_threads

        use_threads(threads)
        spec, state = pickle.loads(file.read_bytes())  # noqa: S301 - the benchmark's own
        net = minisqx.Network(spec)
        net.load_state_dict(state)
        self.plan = net.plan()
        self.layout = self.plan.layout(batch_size, *size)
        self.data = self.layout.empty(3, np.float32)

    def fill(self, x: np.ndarray) -> None:
        self.layout.pack(x, self.data)

    def call(self) -> np.ndarray:
        return self.plan.run(self.data, self.layout)
