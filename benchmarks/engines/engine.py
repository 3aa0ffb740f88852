"""What every engine offers, and copies of one on threads of their own."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.folding import Folded, fold
from benchmarks.turns import Calls
from minisqx.spec import NetworkSpec

Size = tuple[int, int]


@dataclass(frozen=True)
class Network:
    """What an engine's file is written of. is_folded: with batch norm folded into other layers where that is exact."""

    spec: NetworkSpec
    state: dict[str, np.ndarray]
    is_folded: bool

    def onnx(self) -> bytes:
        """The graph that `minisqx export net.onnx` writes if `is_folded`, or one with a node for each batch norm."""
        from minisqx.checkpoint import CIFAR10_MEAN, CIFAR10_STD
        from minisqx.formats.folding import folded
        from minisqx.formats.onnx_file import onnx_file
        from minisqx.formats.program import program_of
        from minisqx.inference.model import Model

        classes = tuple(map(str, range(self.spec.num_classes)))
        program = program_of(Model(self.spec.name, self.spec, self.state, classes, CIFAR10_MEAN, CIFAR10_STD, {}, {}))
        return onnx_file(folded(program) if self.is_folded else program, CIFAR10_MEAN, CIFAR10_STD, image_input=False)

    def units(self) -> tuple[NetworkSpec | Folded, dict[str, np.ndarray]]:
        """The description and its state, for a writer of its own."""
        return fold(self.spec, self.state) if self.is_folded else (self.spec, self.state)


class Engine(Calls):
    """A network that an engine has loaded from the file that its `write` wrote; `call()` gives the logits of what `x` holds.

    x: float32 (batch_size, 3, H, W), a view in the engine's own order of axes.
    """

    ending: str

    @staticmethod
    def write(network: Network, file: Path, samples: np.ndarray, precision: str) -> None:
        """Writes the engine's file of a network. samples: float32 (N, 3, H, W), which calibrate int8."""
        raise NotImplementedError

    @staticmethod
    def buffer(batch_size: int, size: Size) -> np.ndarray:
        """An input (batch_size, 3, H, W) for `x`."""
        return np.zeros((batch_size, 3, *size), np.float32)

    def __init__(self, file: Path, size: Size, batch_size: int, threads: int) -> None:
        self.x = self.buffer(batch_size, size)

    def fill(self, x: np.ndarray) -> None:
        """Sets the input, float32 (batch_size, 3, H, W)."""
        self.x[:] = x


class Copies(Engine):
    """A copy of an engine on each thread. They take chunks of the batch in turns; the engine must release Python's lock."""

    def __init__(
        self, engine: type[Engine], chunk: int, file: Path, size: Size, batch_size: int, threads: int, **options: object
    ) -> None:
        self.copies = [engine(file, size, chunk, 1, **options) for _ in range(threads)]
        self.x, self.pool = engine.buffer(batch_size, size), ThreadPoolExecutor(threads)
        self.logits = np.empty((batch_size, self.copies[0].call().shape[1]), np.float32)

    def call(self) -> np.ndarray:
        list(self.pool.map(self._share, range(len(self.copies))))
        return self.logits

    def _share(self, number: int) -> None:
        engine = self.copies[number]
        chunk = len(engine.x)
        for first in range(number * chunk, len(self.x), len(self.copies) * chunk):
            engine.x[:] = self.x[first : first + chunk]
            self.logits[first : first + chunk] = engine.call()
