"""A network frozen for inference: its steps (`steps.py`) and constant weights, run by one kernel a chunk of images at a time."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from minisqx.channels_last import table_of
from minisqx.kernels import pixels
from minisqx.kernels.compiler.jit import bound
from minisqx.kernels.layout import MAX_IMAGES_IN_CHUNK, Layout, aligned_empty
from minisqx.kernels.structures import Classifier
from minisqx.machine.sharing import share
from minisqx.spec import LinearSpec, NetworkSpec
from minisqx.steps import StepTable, check_ending, constant_weights

# fill(x, first, count) writes the images first : first + count, each a run of columns, to the first columns of x (3, stride).
Fill = Callable[[np.ndarray, int, int], None]


class _Run(NamedTuple):
    """What a thread needs to run a table of steps: call() computes logits (images, classes) from x (3, stride)."""

    x: np.ndarray
    logits: np.ndarray
    call: Callable[[], None]


class Plan:
    """A frozen copy of a network: batch norm's running statistics are constants. Several threads may run it at once.

    An image's logits have the same bits alone and in any batch, on any number of threads. After the first run with images of
    a size, a run allocates only its result. A run raises what went wrong on any of its threads, such as MemoryError.

    A copy, in this process or another, has the same constants and makes its own tables and memory.
    """

    def __init__(self, spec: NetworkSpec, state: dict[str, np.ndarray]):
        check_ending(spec)
        weights, places = constant_weights(spec, state)
        dtype = weights.dtype
        linear = [layer.name for layer in spec.layers if isinstance(layer, LinearSpec)]
        # A classifier without channels stands for none: then the averages are the logits.
        classifier = (
            (state[f"{linear[0]}.weight"], state[f"{linear[0]}.bias"])
            if linear
            else (np.empty((0, 0), dtype), np.empty(0, dtype))
        )
        self.__setstate__((spec, weights, places, classifier))

    def __getstate__(self) -> tuple:
        return self.spec, self._weights, self._places, self._classifier

    def __setstate__(self, state: tuple) -> None:
        self.spec, weights, self._places, classifier = state
        self.dtype = weights.dtype
        # Arrays of its own: the given ones may be written to later, or may lie in a file in memory that can only be read.
        classifier = [np.array(array, self.dtype, order="C") for array in classifier]
        self._weights = aligned_empty(weights.shape, self.dtype)
        self._weights[...] = weights
        self._classifier = Classifier(*classifier)
        # Images that one thread runs together: enough to fill vectors on the small maps, few enough for the cache.
        self._images_per_chunk = MAX_IMAGES_IN_CHUNK * self.spec.larger_chunks
        self._tables: dict[tuple[int, int, int], StepTable] = {}
        self._idle: dict[StepTable, list[_Run]] = {}
        self._look_up_code: Any = None  # of the kernel, for the types that a plan calls it with

    def __repr__(self) -> str:
        return f"Plan({self.spec.name}, {self.dtype})"

    def layout(self, images: int, height: int, width: int) -> Layout:
        """The layout in which `run` reads a batch directly; it repacks a batch in another one."""
        return Layout(images, height, width, self.dtype.itemsize, min(images, self._images_per_chunk))

    def run(self, data: np.ndarray, layout: Layout) -> np.ndarray:
        """Logits (N, classes) of a packed batch: data (chunks, 3, stride) in `layout`, of the plan's dtype, normalised."""
        in_chunk = layout.images_per_chunk
        if in_chunk != min(layout.images, self._images_per_chunk):
            return self.run_images(layout.unpack(data))

        def fill(x: np.ndarray, first: int, count: int) -> None:
            columns = count * layout.height * layout.width
            x[:, :columns] = data[first // in_chunk, :, :columns]

        return self._run(layout.images, layout.height, layout.width, fill)

    def run_images(self, images: np.ndarray) -> np.ndarray:
        """Logits (N, classes) of images (N, 3, H, W), normalised; numbers of another dtype are rounded to the plan's."""
        number, channels, height, width = images.shape
        map_pixels = height * width

        def fill(x: np.ndarray, first: int, count: int) -> None:
            part = images[first : first + count].reshape(count, channels, map_pixels)
            x[:, : count * map_pixels].reshape(channels, count, map_pixels)[...] = part.transpose(1, 0, 2)

        return self._run(number, height, width, fill)

    def run_pixels(self, images: np.ndarray | Sequence[np.ndarray], values: np.ndarray) -> np.ndarray:
        """Logits (N, classes) of at least one image uint8 (H, W, 3), as an array (N, H, W, 3) or as a list of arrays.

        values: (3, 256), the network's input for each value of each colour, of the plan's dtype.
        """
        height, width, _ = images[0].shape

        def fill(x: np.ndarray, first: int, count: int) -> None:
            part = images[first : first + count]
            flat = np.ascontiguousarray(part).reshape(-1) if isinstance(part, np.ndarray) else np.concatenate(part, axis=None)
            arguments = (x, flat, values)
            if self._look_up_code is None:
                self._look_up_code = bound(pixels.look_up, arguments)
            self._look_up_code(*arguments)

        return self._run(len(images), height, width, fill)

    def _run(self, images: int, height: int, width: int, fill: Fill) -> np.ndarray:
        logits = np.empty((images, self.spec.num_classes), self.dtype)
        if images <= self._images_per_chunk:
            self._run_chunk(logits, 0, height, width, fill)
        else:
            firsts = range(0, images, self._images_per_chunk)
            share(lambda first: self._run_chunk(logits, first, height, width, fill), firsts)
        return logits

    def _run_chunk(self, logits: np.ndarray, first: int, height: int, width: int, fill: Fill) -> None:
        logits = logits[first : first + self._images_per_chunk]
        images = len(logits)
        table = self._table(images, height, width)
        idle = self._idle[table]
        try:
            run = idle.pop()  # several threads may do so at once
        except IndexError:
            run = self._new_run(table, images)
        try:
            fill(run.x, first, images)
            if table.pixels < table.columns:
                run.x[:, table.pixels : table.columns] = 0  # the padding, which kernels read
            run.call()
            logits[...] = run.logits
        finally:
            idle.append(run)

    def _new_run(self, table: StepTable, images: int) -> "_Run":
        memory, x, features, scratch = table.buffers()
        logits = np.empty((images, self.spec.num_classes), self.dtype)
        arguments = (logits, table.program, self._classifier, images, memory, features, scratch)
        return _Run(x, logits, table.kernel.code(arguments).prepare(*arguments))

    def _table(self, images: int, height: int, width: int) -> StepTable:
        key = (images, height, width)
        if key not in self._tables:
            spec = replace(self.spec, input_size=(height, width))
            table = table_of(spec, self._places, images, self._weights)
            self._idle[table] = []
            self._tables[key] = table
        return self._tables[key]
