"""Compiles a network's description and state to a table of steps and constant weights, which `kernels/inference.py` runs."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from minisqx.errors import OptionError
from minisqx.kernels import frozen
from minisqx.kernels.activation import number_of
from minisqx.kernels.geometry import Geometry, Taps
from minisqx.kernels.layout import CACHE_LINE, Layout, aligned_empty
from minisqx.kernels.structures import BLOCK, EPSILON, SCRATCH_STRIDE, Program
from minisqx.spec import (
    AveragePoolSpec,
    BottleneckSpec,
    ConvolutionSpec,
    DropoutSpec,
    FireSpec,
    LinearSpec,
    MaxPoolSpec,
    NetworkSpec,
    ParameterFreeSpec,
    Size,
)


class StepTable:
    """The steps for a number of images of one size, and the memory that they work in; every tensor lies in rows of pixels.

    spec: with that size as its input_size. places: where each convolution's weights begin in `weights`, as `constant_weights`
    returns both.
    """

    kernel = frozen.run

    def __init__(self, spec: NetworkSpec, places: dict[str, int], images: int, weights: np.ndarray):
        self.layout = Layout(images, *spec.input_size, weights.itemsize, images)
        self._places, self._dtype, self._weights = places, weights.dtype, weights
        self._taps: list[Taps] = []
        self._tables: dict[Geometry, int] = {}
        self._memory = _Memory()
        self._steps: list[np.ndarray] = []
        self.names: list[str] = []  # of the steps
        self._longest, self._deepest = self.layout.stride, 1
        x, size, after_sampled = self._input(spec), spec.input_size, False
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
                    x, size = self._pool(frozen.MAX_POOL, unit, x, size, (unit.kernel, unit.stride))
                case AveragePoolSpec():
                    self._average(unit, x, size)
                case DropoutSpec() | LinearSpec():
                    pass  # dropout does nothing in inference; the kernel runs the linear layer after the last step
                case _:
                    raise OptionError(f"{unit!r}: inference has no such layer; expected a unit of minisqx.spec")
        self.steps = np.array(self._steps, np.int64)
        self.pixels, self.columns = self.layout.pixels(0), self.layout.padded(0)
        self.scratch = max(self._deepest * SCRATCH_STRIDE, 2 * SCRATCH_STRIDE, -(-self._longest // BLOCK) * SCRATCH_STRIDE)
        self._build()

    def _build(self) -> None:
        """Makes the kernel's arguments that are the same in every run."""
        inside = np.concatenate([np.empty(0, self._dtype), *(taps.inside.ravel() for taps in self._taps)])
        index = np.concatenate([np.empty(0, np.int32), *(taps.index.ravel() for taps in self._taps)])
        length = max(self._longest, BLOCK, self._widest())
        zeros, ones = np.zeros(length, self._dtype), np.ones(length, self._dtype)
        self.program = Program(self.steps, self._weights, inside, index, zeros, ones)

    def buffers(self) -> tuple[np.ndarray, ...]:
        """What one run works in: (memory, the rows (3, stride) in it for the input, features, scratch)."""
        memory, dtype = aligned_empty(self._memory.size, self._dtype), self._dtype
        x = memory[: 3 * self.layout.stride].reshape(3, self.layout.stride)
        return memory, x, np.empty((self.layout.images, self._features), dtype), aligned_empty(self.scratch, dtype)

    def _widest(self) -> int:
        return int(self.steps[:, [frozen.ROWS, frozen.IN_ROWS]].max())

    def _stride(self, size: tuple[int, int]) -> int:
        stride = self.layout.resized(*size).stride
        self._longest = max(self._longest, stride)
        return stride

    def _step(self, name: str, kind: int, out: int, size, rows: int, in_at: int, in_size, in_rows: int) -> np.ndarray:
        step = np.zeros(frozen.COLUMNS, np.int64)
        step[: frozen.IN_ROWS + 1] = kind, out, self._stride(size), rows, in_at, self._stride(in_size), in_rows
        self._steps.append(step)
        self.names.append(name)
        return step

    def _input(self, spec: NetworkSpec) -> int:
        """Takes the place of the network's input: 3 rows of pixels."""
        return self._memory.take(3 * self.layout.stride)

    def _average(self, unit: AveragePoolSpec, x: int, size: Size) -> None:
        """The kernel averages the output of the last step, in rows of pixels."""
        self._features = unit.channels

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
        y = self._add(f"{unit.name}.sum", main, size, other, other_size, rest[-1].out_channels, number_of(unit.activation))
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

    def _pool(
        self, kind: int, unit: ParameterFreeSpec, x: int, in_size: Size, window: tuple[int, int] | None = None
    ) -> tuple[int, Size]:
        """Adds a step that reads x alone and has no weights. window: (kernel, stride), if it reads `Taps`."""
        size = unit.size_after(in_size)
        out = self._memory.take(unit.channels * self._stride(size))
        step = self._step(unit.name, kind, out, size, unit.channels, x, in_size, unit.channels)
        kernel, stride = window or (1, 1)
        geometry = Geometry.of((kernel, kernel), (stride, stride), (0, 0), in_size, size)
        step[frozen.GEOMETRY :] = geometry
        if window:
            step[frozen.TABLE_AT] = self._table(geometry, size)
        self._memory.release(x)
        return out, size

    def _convolve(self, group: tuple[ConvolutionSpec, ...], x: int, in_size: Size, release: bool, out: int | None = None):
        """Adds a step for convolutions that read the same input; returns where its output lies, and that map's size.

        release: whether x's place is free afterwards. out: where the output is to lie; None takes a new place.
        """
        spec = group[0]
        size, rows = spec.size_after(in_size), sum(s.out_channels for s in group)
        if out is None:
            out = self._memory.take(rows * self._stride(size))
        name = spec.name if len(group) == 1 else f"{spec.name}, shortcut"
        step = self._step(name, frozen.CONVOLUTION, out, size, rows, x, in_size, spec.in_channels)
        step[frozen.ACTIVATION] = number_of(spec.activation)
        step[frozen.ACTIVATED] = sum(s.out_channels for s in group if s.activation)
        geometry, step[frozen.WEIGHT_AT] = self._weighted(spec, in_size, size)
        step[frozen.GEOMETRY :] = geometry
        step[frozen.TABLE_AT] = self._table(geometry, size)
        self._deepest = max(self._deepest, spec.in_channels * geometry.kernel_height * geometry.kernel_width)
        if release:
            self._memory.release(x)
        return out, size

    def _weighted(self, spec: ConvolutionSpec, in_size: Size, size: Size) -> tuple[Geometry, int]:
        """A convolution's geometry, and where its weights begin: those of its live taps, if there are such weights."""
        geometry = Geometry.of(spec.kernel, spec.stride, spec.padding, in_size, size)
        weights_of_live_taps = _live_name(spec.name, geometry)
        if weights_of_live_taps in self._places:
            return geometry.live, self._places[weights_of_live_taps]
        return geometry, self._places[spec.name]

    def _table(self, geometry: Geometry, size) -> int:
        """Where the tables of this geometry begin in `inside` and `index`; equal geometries share them."""
        if geometry not in self._tables:
            self._tables[geometry] = sum(taps.index.size for taps in self._taps)
            self._taps.append(geometry.taps(self.layout.resized(*size), self._dtype))
        return self._tables[geometry]

    def _add(self, name: str, main: int, size: Size, other: int, other_size: Size, rows: int, activation: int) -> int:
        """Adds a step for the sum of two tensors; of the other one only the samples are read if its map is larger."""
        out = self._memory.take(rows * self._stride(size))
        step = self._step(name, frozen.SUM, out, size, rows, main, size, rows)
        step[frozen.ACTIVATION] = activation
        step[frozen.OTHER_AT], step[frozen.OTHER_STRIDE] = other, self._stride(other_size)
        step[frozen.OTHER_SAMPLED] = other_size != size
        step[frozen.GEOMETRY :] = Geometry.of((1, 1), (1, 1), (0, 0), other_size, size)
        return out


def check_ending(spec: NetworkSpec) -> None:
    """Raises OptionError unless the network ends in an average pool, or in that and one linear layer: `inference.run` computes
    nothing else after the last step.
    """
    types = [type(unit) for unit in spec.units]
    ending = types[types.index(AveragePoolSpec) :] if AveragePoolSpec in types else []
    if ending not in ([AveragePoolSpec], [AveragePoolSpec, LinearSpec]) or LinearSpec in types[: -len(ending)]:
        raise OptionError(f"{spec.name}: inference needs a network that ends in an average pool, or in that and one linear layer")


def _arranged(unit: BottleneckSpec, after_sampled: bool):
    """A bottleneck as (convolutions that read its input in one step, those after them, the shortcut if it is a step of its own).

    Where only every other row and column of the sum is read, the others aren't computed: the stride moves up through the 1x1
    kernels to the first layer that can take it, along each axis. The shortcut then has the stride, too, and is a step of its own.
    after_sampled: whether the input is such a sum, so that this bottleneck's own stride is already applied.
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


def weight_groups(spec: NetworkSpec):
    """The groups of convolutions that are one step each."""
    for unit in spec.units:
        if isinstance(unit, BottleneckSpec):
            group, rest, shortcut = _arranged(unit, after_sampled=False)
            yield group
            yield from ((convolution,) for convolution in (*rest, *([shortcut] if shortcut else ())))
        else:
            yield from unit.groups


def _live_name(name: str, geometry: Geometry) -> str:
    """The name of a convolution's weights without the taps that miss the map for every pixel."""
    return " ".join([name, *(f"{taps.start}:{taps.stop}" for taps in geometry.live_taps)])


def kernels_of(spec: ConvolutionSpec) -> Iterator[tuple[str, tuple[slice, slice]]]:
    """The kernels of a convolution in the constant weights, as names and taps: all taps, and if some of them miss the map of the
    description's size, also the live ones, of which steps for that size are made.
    """
    geometry = Geometry.of(spec.kernel, spec.stride, spec.padding, spec.input_size, spec.output_size)
    yield spec.name, (slice(None), slice(None))
    if geometry.live != geometry:
        yield _live_name(spec.name, geometry), geometry.live_taps


class _Memory:
    """Places for tensors in one flat memory; a new tensor takes the first gap that is large enough."""

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


def constant_weights(spec: NetworkSpec, state: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, int]]:
    """(All convolutions' weights, biases and batch norms in one flat array, where each group begins by its first convolution's
    name, or by that and its live taps); `kernels/inference.py` has the order. Folded in float64, rounded once to the state's
    dtype.
    """
    pieces: list[np.ndarray] = []
    places: dict[str, int] = {}
    at = 0
    for group in weight_groups(spec):
        first = group[0]
        tensors = {
            part: np.concatenate([state[f"{s.name}.{part}"].astype(np.float64) for s in group])
            for part in (*first.parameter_shapes, *first.buffer_shapes)
        }
        weight, bias = tensors["weight"].reshape(len(tensors["bias"]), -1).T, tensors["bias"]
        scale, shift = np.ones_like(bias), np.zeros_like(bias)
        if first.has_norm:
            scale = tensors["gamma"] / np.sqrt(tensors["running_var"] + EPSILON)
            shift = tensors["beta"] - tensors["running_mean"] * scale
        if first.order == "conv-bn-act":
            weight, bias = weight * scale, bias * scale + shift
            scale, shift = np.ones_like(scale), np.zeros_like(shift)
        for name, (rows, columns) in kernels_of(first):
            places[name] = at
            live = weight.reshape(-1, *first.kernel, len(bias))[:, rows, columns]
            pieces += [live.ravel(), bias, scale, shift]
            at = sum(piece.size for piece in pieces)
    pieces.append(np.zeros(CACHE_LINE))  # kernels read whole vectors, beyond the last piece
    dtype = next(iter(state.values())).dtype
    return np.concatenate(pieces).astype(dtype), places
