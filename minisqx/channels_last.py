"""The steps of a network of fire modules: the channels of a pixel lie side by side, in other frameworks `channels last` or NHWC.

Its maps end at one pixel, while its channels fill vectors, at every layer: `kernels/channels_last.py`. Bottlenecks keep rows of
pixels, since at small widths they have layers of one channel.
"""

from typing import NamedTuple

import numpy as np

from minisqx.kernels import frozen
from minisqx.kernels.activation import number_of
from minisqx.kernels.geometry import Geometry
from minisqx.kernels.layout import CACHE_LINE
from minisqx.kernels.structures import BLOCK
from minisqx.spec import AveragePoolSpec, BottleneckSpec, ConvolutionSpec, FireSpec, NetworkSpec, ParameterFreeSpec, Size
from minisqx.steps import StepTable, kernels_of, weight_groups


class _Maps(NamedTuple):
    """A tensor in memory: its place, the first pixel, and the distances between neighbours, as in `structures.Maps`."""

    place: int
    at: int
    row: int
    pixel: int
    channel: int
    border: int


class ChannelsLastTable(StepTable):
    """The steps for a network of fire modules; only the input and the averages' input are rows of pixels."""

    kernel = frozen.run_on_maps

    def _input(self, spec: NetworkSpec) -> int:
        place = super()._input(spec)
        self._maps = {place: _Maps(place, place, spec.input_size[1], 1, self.layout.stride, 0)}
        return place

    def _take(self, channels: int, size: Size, border: int = 0) -> _Maps:
        """A new place. border: zeros to the left and to the right of each row, in pixels."""
        line = CACHE_LINE // self._dtype.itemsize
        pixel = -(-channels // line) * line
        row = (size[1] + 2 * border) * pixel
        place = self._memory.take(self.layout.images * size[0] * row)
        self._maps[place] = _Maps(place, place + border * pixel, row, pixel, 1, border)
        return self._maps[place]

    def _map_step(self, name: str, kind: int, out: _Maps, rows: int, x: _Maps, in_rows: int, geometry: Geometry) -> np.ndarray:
        step = np.zeros(frozen.COLUMNS, np.int64)
        step[: frozen.IN_ROWS + 1] = kind, out.at, out.pixel, rows, x.at, x.pixel, in_rows
        step[frozen.IN_ROW], step[frozen.IN_CHANNEL] = x.row, x.channel
        step[frozen.OUT_ROW], step[frozen.OUT_BORDER] = out.row, out.border
        step[frozen.GEOMETRY :] = geometry
        self._steps.append(step)
        self.names.append(name)
        return step

    def _convolve(self, group: tuple[ConvolutionSpec, ...], x: int, in_size: Size, release: bool, out: int | None = None):
        (spec,) = group
        size = spec.size_after(in_size)
        maps = self._take(spec.out_channels, size)
        self._convolution(spec, self._maps[x], in_size, maps)
        self._memory.release(x)
        return maps.place, size

    def _convolution(self, spec: ConvolutionSpec, x: _Maps, in_size: Size, out: _Maps) -> None:
        geometry, weight_at = self._weighted(spec, in_size, spec.size_after(in_size))
        step = self._map_step(spec.name, frozen.MAPS_CONVOLUTION, out, spec.out_channels, x, spec.in_channels, geometry)
        step[frozen.ACTIVATION], step[frozen.WEIGHT_AT] = number_of(spec.activation), weight_at

    def _fire(self, unit: FireSpec, x: int, size: Size) -> int:
        border = self._weighted(unit.expand3, size, size)[0].padding_width
        squeezed, y = self._take(unit.squeeze.out_channels, size, border), self._take(unit.output_shape[0], size)
        self._convolution(unit.squeeze, self._maps[x], size, squeezed)
        self._convolution(unit.expand1, squeezed, size, y)
        # After expand1, whose last vector may reach into the channels of expand3.
        self._convolution(unit.expand3, squeezed, size, y._replace(at=y.at + unit.expand1.out_channels))
        self._memory.release(x)
        self._memory.release(squeezed.place)
        return y.place

    def _pool(
        self, kind: int, unit: ParameterFreeSpec, x: int, in_size: Size, window: tuple[int, int] | None = None
    ) -> tuple[int, Size]:
        size, (kernel, stride) = unit.size_after(in_size), window or (1, 1)
        out, geometry = self._take(unit.channels, size), Geometry.of((kernel, kernel), (stride, stride), (0, 0), in_size, size)
        self._map_step(unit.name, frozen.MAPS_MAX_POOL, out, unit.channels, self._maps[x], unit.channels, geometry)
        self._memory.release(x)
        return out.place, size

    def _average(self, unit: AveragePoolSpec, x: int, size: Size) -> None:
        super()._average(unit, x, size)
        out, geometry = self._memory.take(unit.channels * self._stride(size)), Geometry.of((1, 1), (1, 1), (0, 0), size, size)
        rows = _Maps(out, out, 0, self._stride(size), 1, 0)
        self._map_step(f"{unit.name}, rows", frozen.MAPS_TO_ROWS, rows, unit.channels, self._maps[x], unit.channels, geometry)


class _Measured(StepTable):
    """A table whose sizes are known, but whose large arrays are not made."""

    def _build(self) -> None:
        pass

    def _table(self, geometry: Geometry, size) -> int:
        self._tables[geometry] = geometry.kernel_height * geometry.kernel_width * self.layout.resized(*size).stride
        return 0

    def memory_bytes(self) -> tuple[int, int]:
        elements = self._memory.size + self.layout.images * self._features + self.scratch
        # Each geometry's tables are kept twice: as they were made, and in the flat arrays.
        tables = 2 * sum(self._tables.values()) * (self._dtype.itemsize + np.dtype(np.int32).itemsize)
        return elements * self._dtype.itemsize, tables + 2 * max(self._longest, BLOCK, self._widest()) * self._dtype.itemsize


class _MeasuredChannelsLast(_Measured, ChannelsLastTable):
    pass


def is_channels_last(spec: NetworkSpec) -> bool:
    """Whether every layer of a network can be a step on `Maps`: fire modules, convolutions without padding, and pools."""
    fires = any(isinstance(unit, FireSpec) for unit in spec.units)
    others = (
        isinstance(unit, BottleneckSpec) or (isinstance(unit, ConvolutionSpec) and any(unit.padding)) for unit in spec.units
    )
    return fires and not any(others)


def table_of(spec: NetworkSpec, places: dict[str, int], images: int, weights: np.ndarray) -> StepTable:
    """The steps with which a plan runs `images` of the description's size; arguments as for `StepTable`."""
    return (ChannelsLastTable if is_channels_last(spec) else StepTable)(spec, places, images, weights)


def measured_memory(spec: NetworkSpec, images: int, dtype="float32") -> tuple[int, int]:
    """Bytes that a plan needs to run chunks of `images`: (for each thread that runs one, for all threads together)."""
    places = {name: 0 for group in weight_groups(spec) for name, _ in kernels_of(group[0])}
    table = _MeasuredChannelsLast if is_channels_last(spec) else _Measured
    return table(spec, places, images, np.empty(0, dtype)).memory_bytes()
