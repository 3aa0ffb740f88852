"""Which pixel of the input lies under each tap of a kernel: as twelve numbers, and as the tables that kernels read.

It needs no Numba: a frozen network is put together without it.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from minisqx.kernels.layout import Layout

# Positions in the array of a geometry.
KERNEL_HEIGHT, KERNEL_WIDTH, STRIDE_HEIGHT, STRIDE_WIDTH = range(4)
PADDING_HEIGHT, PADDING_WIDTH, IN_HEIGHT, IN_WIDTH, OUT_HEIGHT, OUT_WIDTH = range(6, 12)


class Taps(NamedTuple):
    """A geometry in the form that kernels take, for chunks of one layout.

    geometry: the twelve numbers of `Geometry`. inside: (taps, columns) of the activations' dtype, 1 where the tap lies
    inside the map, else 0 (also in the padding columns). index: (taps, columns) int32, the column of the input there,
    or -1.
    """

    geometry: np.ndarray
    inside: np.ndarray
    index: np.ndarray


class Geometry(NamedTuple):
    """Where the taps of a convolution's kernel lie; sizes in pixels."""

    kernel_height: int
    kernel_width: int
    stride_height: int
    stride_width: int
    upsample_height: int
    upsample_width: int
    padding_height: int
    padding_width: int
    in_height: int
    in_width: int
    out_height: int
    out_width: int

    @classmethod
    def of(cls, kernel, stride, padding, input_size, output_size) -> "Geometry":
        """From (height, width) pairs."""
        return cls(*kernel, *stride, 1, 1, *padding, *input_size, *output_size)

    @property
    def transposed(self) -> "Geometry":
        """The geometry that gathers the output's gradient for each input pixel; its taps are flipped."""
        return Geometry(
            self.kernel_height,
            self.kernel_width,
            self.upsample_height,
            self.upsample_width,
            self.stride_height,
            self.stride_width,
            self.kernel_height - 1 - self.padding_height,
            self.kernel_width - 1 - self.padding_width,
            self.out_height,
            self.out_width,
            self.in_height,
            self.in_width,
        )

    @property
    def live_taps(self) -> tuple[slice, slice]:
        """The rows and the columns of the kernel outside of which every tap misses the map for every output pixel."""
        return (
            _live(self.kernel_height, self.stride_height, self.padding_height, self.in_height, self.out_height),
            _live(self.kernel_width, self.stride_width, self.padding_width, self.in_width, self.out_width),
        )

    @property
    def live(self) -> "Geometry":
        """The same convolution with its live taps alone. For a geometry without upsampling."""
        rows, columns = self.live_taps
        return self._replace(
            kernel_height=rows.stop - rows.start,
            kernel_width=columns.stop - columns.start,
            padding_height=self.padding_height - rows.start,
            padding_width=self.padding_width - columns.start,
        )

    def taps(self, layout: Layout, dtype) -> Taps:
        """The tables for an output with this layout."""
        return _tables(self, layout.images_per_chunk, layout.stride, np.dtype(dtype))


def _live(kernel: int, stride: int, padding: int, size: int, outputs: int) -> slice:
    """Along one axis: from the first to the last tap that lies in the map for some output."""
    live = [tap for tap in range(kernel) if any(0 <= place * stride + tap - padding < size for place in range(outputs))]
    return slice(live[0], live[-1] + 1)


@lru_cache(maxsize=512)
def _tables(geometry: Geometry, images: int, columns: int, dtype) -> Taps:
    g = geometry
    image, y, x = (a.ravel() for a in np.indices((images, g.out_height, g.out_width)))

    def source(place, stride, upsample, tap, padding, size):
        """The input's coordinate along one axis, and whether there is one."""
        at = place * stride + tap - padding
        return at // upsample, (at >= 0) & (at % upsample == 0) & (at // upsample < size)

    index = np.full((g.kernel_height * g.kernel_width, columns), -1, np.int32)
    for i in range(g.kernel_height):
        for j in range(g.kernel_width):
            from_y, inside_y = source(y, g.stride_height, g.upsample_height, i, g.padding_height, g.in_height)
            from_x, inside_x = source(x, g.stride_width, g.upsample_width, j, g.padding_width, g.in_width)
            found = (image * g.in_height + from_y) * g.in_width + from_x
            index[i * g.kernel_width + j, : found.size] = np.where(inside_y & inside_x, found, -1)
    return Taps(np.array(g, np.int64), (index >= 0).astype(dtype), index)
