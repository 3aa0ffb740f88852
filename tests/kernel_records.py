"""Records calls of kernels in training and inference, and runs them again with their arrays at other places in memory.

    NUMBA_DISABLE_JIT=1 python -m tests.kernel_records FILE

records the calls of every kernel: without the JIT, also those between kernels. `Record.run` runs compiled kernels.
"""

import importlib
import os
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from minisqx.machine.threads import threads
from minisqx.spec import squeezenet

CALLS_PER_KERNEL = 3  # for one dtype, each with other shapes
# Bytes between two arrays: some below the 256 that LLVM's vector loops require between them, some in the same cache set.
GAPS = (0, 8, 16, 24, 40, 64, 128, 136, 256, 4032, 4096, 4104)


@dataclass
class Block:
    """The memory of an array, or of several views. align: the elements' alignment in bytes; first: the offset of an element."""

    data: np.ndarray
    align: int
    first: int


@dataclass
class View:
    """An array: a place in a block."""

    block: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str


@dataclass
class Record:
    """One call of a kernel: its arguments, with a `View` instead of each array, and the memory of the views."""

    module: str
    name: str
    arguments: tuple
    blocks: list[Block]

    def run(self, generator: np.random.Generator) -> bytes:
        """The bits of the compiled kernel's result and arrays, which are placed anywhere in memory, in any order."""
        kernel = getattr(importlib.import_module(self.module), self.name)
        order = generator.permutation(len(self.blocks))
        memory = np.empty(sum(block.data.size for block in self.blocks) + 8192 * (len(order) + 1), np.uint8)
        places, at = {}, int(generator.choice(GAPS))
        for number in order:
            block = self.blocks[number]
            at += -(memory.ctypes.data + at + block.first) % block.align
            memory[at : at + block.data.size] = block.data
            places[number] = at
            at += block.data.size + int(generator.choice(GAPS))

        def placed(value):
            if isinstance(value, View):
                offset = places[value.block] + value.offset
                return np.ndarray(value.shape, value.dtype, memory, offset, value.strides)
            return _rebuilt(value, placed)

        returned = kernel(*placed(self.arguments))
        left = [memory[places[number] : places[number] + block.data.size] for number, block in enumerate(self.blocks)]
        return _bits((returned, *left))


class Recorder:
    """Collects the first calls of each kernel in `records`."""

    def __init__(self):
        self.records: list[Record] = []
        self._counts: Counter = Counter()
        self._known: set = set()

    def watched(self, function: Callable, run: Callable) -> Callable:
        """`run`, the callable of the kernel `function`, with its calls recorded."""

        def call(*arguments):
            arrays = _arrays(arguments)
            kernel = function.__module__, function.__name__, any(array.dtype == np.float32 for array in arrays)
            shapes = tuple(array.shape for array in arrays)
            if (kernel, shapes) not in self._known and self._counts[kernel] < CALLS_PER_KERNEL:
                self._known.add((kernel, shapes))
                self._counts[kernel] += 1
                self.records.append(_record(function, arguments))
            return run(*arguments)

        return call


def _bits(value) -> bytes:
    if isinstance(value, tuple):
        return b"".join(map(_bits, value))
    return b"" if value is None else np.asarray(value).tobytes()


def _rebuilt(value, change: Callable):
    """A tuple, named or not, with its members changed; anything else unchanged."""
    if not isinstance(value, tuple):
        return value
    members = [change(member) for member in value]
    return type(value)(*members) if hasattr(value, "_fields") else tuple(members)


def _arrays(value) -> list[np.ndarray]:
    if isinstance(value, np.ndarray):
        return [value]
    return [array for member in value for array in _arrays(member)] if isinstance(value, tuple) else []


def _record(function: Callable, arguments: tuple) -> Record:
    blocks: list[Block] = []
    numbers: dict[int, int] = {}

    def view(value):
        if not isinstance(value, np.ndarray):
            return _rebuilt(value, view)
        root = value
        while isinstance(root.base, np.ndarray):
            root = root.base
        if root.ctypes.data not in numbers:
            numbers[root.ctypes.data] = len(blocks)
            data = np.lib.stride_tricks.as_strided(root, (root.size,), (root.itemsize,)).view(np.uint8).copy()
            blocks.append(Block(data, 1, 0))
        number = numbers[root.ctypes.data]
        offset = value.ctypes.data - root.ctypes.data
        if value.itemsize > blocks[number].align:
            blocks[number].align, blocks[number].first = value.itemsize, offset
        return View(number, offset, value.shape, value.strides, value.dtype.str)

    return Record(function.__module__, function.__name__, view(arguments), blocks)


@contextmanager
def small_squeezenet() -> Iterator[None]:
    """Gives SqueezeNet 1.1 few channels and layers, since it is slow without the JIT."""
    before = squeezenet.VERSIONS["1.1"]
    squeezenet.VERSIONS["1.1"] = ((4, 3), (None, (2, 3), None, (2, 3)))
    try:
        yield
    finally:
        squeezenet.VERSIONS["1.1"] = before


@small_squeezenet()
def run_networks(dtype: str) -> None:
    """Steps and inference of small networks of every family and order, and a loader's batches."""
    import minisqx
    from minisqx.data.loader import Loader

    options = {"width": 0.125, "dtype": dtype}
    generator = np.random.default_rng(0)
    networks = (
        minisqx.ShallowSqueezeNext(blocks=(1, 2, 1, 1), **options),
        minisqx.ShallowSqueezeNext(block_order="conv-bn-act", stem_padding=1, **options),
        minisqx.Network(minisqx.SqueezeNetSpec("1.1"), dtype=dtype),
    )
    for network in networks:
        optimizer = minisqx.SGD(network, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
        for images, size in ((5, (9, 17)), (17, (17, 9))):
            x, labels = generator.normal(size=(images, 3, *size)), generator.integers(0, 10, images)
            _, dlogits = minisqx.cross_entropy(network.forward(x, training=True), labels)
            network.backward(dlogits, input_gradient=True)
            optimizer.step()
            network.forward(x[:2])
    images, labels = generator.integers(0, 256, (7, 12, 11, 3), np.uint8), generator.integers(0, 10, 7)
    for augment in ("none", "crop,flip", "auto"):
        loader = Loader(images, labels, 4, mean=(0.5,) * 3, std=(0.2,) * 3, augment=augment, seed=0, dtype=dtype)
        assert [batch.layout.images for batch in loader.epoch(0)] == [4, 3]


def record_every_kernel() -> list[Record]:
    """Without the JIT: the calls of all kernels, in both dtypes."""
    from minisqx.kernels.compiler import jit

    recorder, plain = Recorder(), jit.njit

    def njit(function=None, *, parallel=False):
        if function is None:
            return lambda f: njit(f, parallel=parallel)
        return recorder.watched(function, plain(function, parallel=parallel))

    jit.njit = njit  # before any kernel is imported
    for dtype in ("float32", "float64"):
        run_networks(dtype)
    return recorder.records


def every_kernel(path) -> list[Record]:
    """The records of a process without the JIT, through a file, with scratch memory for this process's number of threads."""
    command = [sys.executable, "-m", "tests.kernel_records", str(path)]
    variables = {"NUMBA_DISABLE_JIT": "1", "MINISQX_NUM_THREADS": str(threads())}
    subprocess.run(command, env=os.environ | variables, check=True)
    with open(path, "rb") as file:
        return pickle.load(file)


if __name__ == "__main__":
    # Imported by the module's own name, since pickle stores it.
    from tests import kernel_records

    with open(sys.argv[1], "wb") as file:
        pickle.dump(kernel_records.record_every_kernel(), file)
