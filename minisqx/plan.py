"""Compiles a network's description and state to the table of steps that `kernels/inference.py` runs."""

from dataclasses import replace
from threading import Thread
from typing import Any

import numpy as np

from minisqx.errors import OptionError
from minisqx.kernels import frozen
from minisqx.kernels.activation import number_of
from minisqx.kernels.geometry import Geometry, Taps
from minisqx.kernels.layout import MAX_IMAGES_IN_CHUNK, Layout, aligned_empty
from minisqx.kernels.structures import BLOCK, EPSILON, SCRATCH_STRIDE, Classifier, Program
from minisqx.machine.threads import threads
from minisqx.spec import (
    AveragePoolSpec,
    BottleneckSpec,
    ConvolutionSpec,
    DropoutSpec,
    FireSpec,
    LinearSpec,
    MaxPoolSpec,
    NetworkSpec,
    Size,
)


class Plan:
    """A network frozen as it is: batch norm's running statistics become constants. Safe to run from several threads at once.

    A copy, in this process or another, has the same constants and makes its own tables and memory.
    """

    def __init__(self, spec: NetworkSpec, state: dict[str, np.ndarray]):
        _check_ending(spec)
        weights, places = _constant_weights(spec, state)
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
        # Arrays of its own: those that are given may be written to later, or be a file in memory that can only be read.
        self._weights, *classifier = (np.array(array, self.dtype, order="C") for array in (weights, *classifier))
        self._classifier = Classifier(*classifier)
        # Images that go through the network together on one thread: enough for the small maps, little enough for the cache.
        self._images_per_chunk = MAX_IMAGES_IN_CHUNK * self.spec.larger_chunks
        self._programs: dict[tuple[int, int, int], _Program] = {}
        self._code: Any = None  # of the kernel, for the types that a plan calls it with

    def __repr__(self) -> str:
        return f"Plan({self.spec.name}, {self.dtype})"

    def layout(self, images: int, height: int, width: int) -> Layout:
        """The cut of a batch that needs no copying into another one."""
        return Layout(images, height, width, self.dtype.itemsize, min(images, self._images_per_chunk))

    def run(self, data: np.ndarray, layout: Layout) -> np.ndarray:
        """Logits (N, classes) of a batch in the memory layout; chunks are shared among as many threads as are set.

        Nothing but the logits is allocated once a batch of these sizes has been run. Raises what went wrong on any of the
        threads, such as MemoryError; where the system has no more threads to give, it goes on with those that it has.
        """
        cut = self.layout(layout.images, layout.height, layout.width)
        if layout.images_per_chunk != cut.images_per_chunk:
            data = cut.pack(layout.unpack(data), cut.empty(3, self.dtype))
        logits = np.empty((layout.images, self.spec.num_classes), self.dtype)
        if cut.chunks == 1:
            self._run_chunk(logits, data, cut, 0)
            return logits
        waiting = iter(range(cut.chunks))
        failures: list[BaseException] = []

        def work() -> None:
            try:
                while not failures and (chunk := next(waiting, None)) is not None:
                    self._run_chunk(logits, data, cut, chunk)
            except BaseException as error:  # a thread's end would take it along, and leave a part of `logits` unwritten
                failures.append(error)

        helpers: list[Thread] = []
        for _ in range(min(threads(), cut.chunks) - 1):
            helper = Thread(target=work)
            try:
                helper.start()
            except (RuntimeError, MemoryError):
                break
            helpers.append(helper)
        work()
        for helper in helpers:
            helper.join()
        if failures:
            raise failures[0]
        return logits

    def _run_chunk(self, logits: np.ndarray, data: np.ndarray, cut: Layout, chunk: int) -> None:
        images, first = cut.images_in(chunk), chunk * cut.images_per_chunk
        program = self._program(images, cut.height, cut.width)
        memory, x, features, scratch = buffers = program.take_buffers()
        try:
            x[:, : program.columns] = data[chunk, :, : program.columns]
            arguments = (logits[first : first + images], program.tables, self._classifier, images, memory, features, scratch)
            if self._code is None:
                self._code = frozen.run.code(arguments)
            self._code(*arguments)
        finally:
            program.give_back(buffers)

    def _program(self, images: int, height: int, width: int) -> "_Program":
        key = (images, height, width)
        if key not in self._programs:
            spec = replace(self.spec, input_size=(height, width))
            self._programs[key] = _Program(spec, self._places, images, self._weights)
        return self._programs[key]


class _Program:
    """The steps for one number of images and one input size, and how much memory they take."""

    def __init__(self, spec: NetworkSpec, places: dict[str, int], images: int, weights: np.ndarray):
        self.layout = Layout(images, *spec.input_size, weights.itemsize, images)
        self._places, self._dtype, self._weights = places, weights.dtype, weights
        self._taps: list[Taps] = []
        self._tables: dict[Geometry, int] = {}
        self._memory = _Memory()
        self._steps: list[np.ndarray] = []
        self._longest, self._deepest = self.layout.stride, 1
        x, size, after_sampled = self._memory.take(3 * self.layout.stride), spec.input_size, False
        for unit in spec.units:
            match unit:
                case ConvolutionSpec():
                    x, size = self._convolve((unit,), x, size, release=True)
                case BottleneckSpec():
                    x, size = self._bottleneck(unit, after_sampled, x, size)
                    after_sampled = unit.sampled
                case FireSpec():
                    x = self._fire(unit, x, size)
                case MaxPoolSpec():
                    x, size = self._max_pool(unit, x, size)
                case AveragePoolSpec():
                    self._features = unit.channels
                case DropoutSpec() | LinearSpec():
                    pass  # the first does nothing here, the second is no step
                case _:
                    raise OptionError(f"{unit!r}: inference has no such layer; expected a unit of minisqx.spec")
        self.steps = np.array(self._steps, np.int64)
        self.columns = self.layout.padded(0)
        self.scratch = max(self._deepest * SCRATCH_STRIDE, 2 * SCRATCH_STRIDE, -(-self._longest // BLOCK) * SCRATCH_STRIDE)
        self._free: list[tuple[np.ndarray, ...]] = []
        self._build()

    def _build(self) -> None:
        """The arrays that do not change from run to run."""
        inside, index = (np.concatenate([taps[table].ravel() for taps in self._taps]) for table in (1, 2))
        length = max(self._longest, BLOCK, self._widest())
        zeros, ones = np.zeros(length, self._dtype), np.ones(length, self._dtype)
        self.tables = Program(self.steps, self._weights, inside, index, zeros, ones)

    def take_buffers(self) -> tuple[np.ndarray, ...]:
        """(memory, the input's rows in it (3, stride), features, scratch) for one run; earlier ones if they were given back.

        Several threads may take and give back at once.
        """
        try:
            return self._free.pop()
        except IndexError:
            memory, dtype = aligned_empty(self._memory.size, self._dtype), self._dtype
            x = memory[: 3 * self.layout.stride].reshape(3, self.layout.stride)
            return memory, x, np.empty((self.layout.images, self._features), dtype), aligned_empty(self.scratch, dtype)

    def give_back(self, buffers: tuple[np.ndarray, ...]) -> None:
        self._free.append(buffers)

    def _widest(self) -> int:
        return int(self.steps[:, [frozen.ROWS, frozen.IN_ROWS]].max())

    def _stride(self, size: tuple[int, int]) -> int:
        stride = self.layout.resized(*size).stride
        self._longest = max(self._longest, stride)
        return stride

    def _step(self, kind: int, out: int, size, rows: int, in_at: int, in_size, in_rows: int) -> np.ndarray:
        step = np.zeros(frozen.COLUMNS, np.int64)
        step[: frozen.IN_ROWS + 1] = kind, out, self._stride(size), rows, in_at, self._stride(in_size), in_rows
        self._steps.append(step)
        return step

    def _bottleneck(self, unit: BottleneckSpec, after_sampled: bool, x: int, x_size: Size) -> tuple[int, Size]:
        group, rest, shortcut = _arranged(unit, after_sampled)
        entry, size = self._convolve(group, x, x_size, release=False)
        main, other, other_size = entry, x, x_size
        if shortcut is not None:
            other, other_size = self._convolve((shortcut,), x, x_size, release=False)
        elif len(group) > 1:
            other, other_size = entry + group[0].out_channels * self._stride(size), size
        for convolution in rest:
            main, size = self._convolve((convolution,), main, size, release=main != entry)
        y = self._add(main, size, other, other_size, rest[-1].out_channels, number_of(unit.activation))
        for place in (x, entry, main, other):
            self._memory.release(place)
        return y, size

    def _fire(self, unit: FireSpec, x: int, size: Size) -> int:
        squeezed, _ = self._convolve((unit.squeeze,), x, size, release=True)
        stride = self._stride(size)
        y = self._memory.take(unit.output_shape[0] * stride)
        self._convolve((unit.expand1,), squeezed, size, release=False, out=y)
        self._convolve((unit.expand3,), squeezed, size, release=True, out=y + unit.expand1.out_channels * stride)
        return y

    def _max_pool(self, unit: MaxPoolSpec, x: int, in_size: Size) -> tuple[int, Size]:
        size = replace(unit, input_size=in_size).output_size
        out = self._memory.take(unit.channels * self._stride(size))
        step = self._step(frozen.MAX_POOL, out, size, unit.channels, x, in_size, unit.channels)
        geometry = Geometry.of((unit.kernel, unit.kernel), (unit.stride, unit.stride), (0, 0), in_size, size)
        step[frozen.GEOMETRY :] = geometry
        step[frozen.TABLE_AT] = self._table(geometry, size)
        self._memory.release(x)
        return out, size

    def _convolve(self, group: tuple[ConvolutionSpec, ...], x: int, in_size: Size, release: bool, out: int | None = None):
        """Adds a step; `release` gives x's place back. out: where the output lies, if not in a place of its own."""
        spec = group[0]
        size, rows = spec.size_after(in_size), sum(s.out_channels for s in group)
        if out is None:
            out = self._memory.take(rows * self._stride(size))
        step = self._step(frozen.CONVOLUTION, out, size, rows, x, in_size, spec.in_channels)
        step[frozen.ACTIVATION] = number_of(spec.activation)
        step[frozen.ACTIVATED] = sum(s.out_channels for s in group if s.activation)
        step[frozen.WEIGHT_AT] = self._places[spec.name]
        geometry = Geometry.of(spec.kernel, spec.stride, spec.padding, in_size, size)
        step[frozen.GEOMETRY :] = geometry
        step[frozen.TABLE_AT] = self._table(geometry, size)
        self._deepest = max(self._deepest, spec.in_channels * spec.kernel[0] * spec.kernel[1])
        if release:
            self._memory.release(x)
        return out, size

    def _table(self, geometry: Geometry, size) -> int:
        """Where this geometry's tables begin in `inside` and `index`; equal ones are kept once."""
        if geometry not in self._tables:
            self._tables[geometry] = sum(taps.index.size for taps in self._taps)
            self._taps.append(geometry.taps(self.layout.resized(*size), self._dtype))
        return self._tables[geometry]

    def _add(self, main: int, size: Size, other: int, other_size: Size, rows: int, activation: int) -> int:
        """The sum of two tensors; of the other only the samples count if its map is larger."""
        out = self._memory.take(rows * self._stride(size))
        step = self._step(frozen.SUM, out, size, rows, main, size, rows)
        step[frozen.ACTIVATION] = activation
        step[frozen.OTHER_AT], step[frozen.OTHER_STRIDE] = other, self._stride(other_size)
        step[frozen.OTHER_SAMPLED] = other_size != size
        step[frozen.GEOMETRY :] = Geometry.of((1, 1), (1, 1), (0, 0), other_size, size)
        return out


class _Measured(_Program):
    """A program that is only arranged: no array of an image's size is made."""

    def _build(self) -> None:
        pass

    def _table(self, geometry: Geometry, size) -> int:
        self._tables[geometry] = geometry.kernel_height * geometry.kernel_width * self.layout.resized(*size).stride
        return 0

    def memory_bytes(self) -> tuple[int, int]:
        elements = self._memory.size + self.layout.images * self._features + self.scratch
        # Each table is kept twice: as it was made, and beside the others.
        tables = 2 * sum(self._tables.values()) * (self._dtype.itemsize + np.dtype(np.int32).itemsize)
        return elements * self._dtype.itemsize, tables + 2 * max(self._longest, BLOCK, self._widest()) * self._dtype.itemsize


def measured_memory(spec: NetworkSpec, images: int, dtype="float32") -> tuple[int, int]:
    """Bytes that a plan takes to run `images` together: on each thread that runs, and for all of them."""
    places = {group[0].name: 0 for group in _weight_groups(spec)}
    return _Measured(spec, places, images, np.empty(0, dtype)).memory_bytes()


def _check_ending(spec: NetworkSpec) -> None:
    """Refuses what `inference.run` would pass over: it takes the average after the last step, and one classifier."""
    kinds = [type(unit) for unit in spec.units]
    ending = kinds[kinds.index(AveragePoolSpec) :] if AveragePoolSpec in kinds else []
    if ending not in ([AveragePoolSpec], [AveragePoolSpec, LinearSpec]) or LinearSpec in kinds[: -len(ending)]:
        raise OptionError(f"{spec.name}: inference needs a network that ends in an average pool, or in that and one linear layer")


def _arranged(unit: BottleneckSpec, after_sampled: bool):
    """A bottleneck as (convolutions that read its input together, those that follow, a shortcut that is computed alone).

    Where only every other row and column of the sum is read, nothing else is computed: the stride moves up through the 1x1
    kernels to the first layer that can take it, along each axis. The shortcut then has the stride, too, and its partner not.
    after_sampled: whether the input is such a sum, so that its own stride is done already.
    """
    first, shortcut = (c and replace(c, stride=(1, 1)) if after_sampled else c for c in (unit.main[0], unit.shortcut))
    rest = unit.main[1:]
    if unit.sampled:
        rest = tuple(replace(c, stride=(1 + (c.kernel[0] > 1), 1 + (c.kernel[1] > 1))) for c in rest)
    if shortcut is None:
        return (first,), rest, None
    if unit.sampled:
        return (first,), rest, replace(shortcut, stride=(2, 2))
    return (first, shortcut), rest, None


def _weight_groups(spec: NetworkSpec):
    """The convolutions that are computed together."""
    for unit in spec.units:
        if isinstance(unit, BottleneckSpec):
            group, rest, shortcut = _arranged(unit, after_sampled=False)
            yield group
            yield from ((convolution,) for convolution in (*rest, *([shortcut] if shortcut else ())))
        else:
            yield from unit.groups


class _Memory:
    """Places for tensors in one flat memory: first fit among what earlier tensors gave back."""

    LINE = 16

    def __init__(self):
        self.size = 0
        self._used: dict[int, int] = {}

    def take(self, elements: int) -> int:
        elements = -(-elements // self.LINE) * self.LINE
        place = 0
        for start, length in sorted(self._used.items()):
            if place + elements <= start:
                break
            place = start + length
        self._used[place] = elements
        self.size = max(self.size, place + elements)
        return place

    def release(self, place: int) -> None:
        self._used.pop(place, None)


def _constant_weights(spec: NetworkSpec, state: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, int]]:
    """All convolutions' weights with their batch norms, flat, and where each group begins; see `kernels/inference.py`."""
    pieces: list[np.ndarray] = []
    places: dict[str, int] = {}
    at = 0
    for group in _weight_groups(spec):
        first = group[0]
        tensors = {
            kind: np.concatenate([state[f"{s.name}.{kind}"].astype(np.float64) for s in group])
            for kind in (*first.parameter_shapes, *first.buffer_shapes)
        }
        weight, bias = tensors["weight"].reshape(len(tensors["bias"]), -1).T, tensors["bias"]
        scale, shift = np.ones_like(bias), np.zeros_like(bias)
        if first.has_norm:
            scale = tensors["gamma"] / np.sqrt(tensors["running_var"] + EPSILON)
            shift = tensors["beta"] - tensors["running_mean"] * scale
        if first.order == "conv-bn-act":
            weight, bias = weight * scale, bias * scale + shift
            scale, shift = np.ones_like(scale), np.zeros_like(shift)
        places[first.name] = at
        pieces += [weight.ravel(), bias, scale, shift]
        at = sum(piece.size for piece in pieces)
    dtype = next(iter(state.values())).dtype
    return np.concatenate(pieces).astype(dtype), places
