"""im2col: gathers the pixels under a convolution's kernel, so that the convolution becomes a matrix product.

    out[(c * kernel_height + i) * kernel_width + j, p] = value of channel c at the pixel under tap (i, j) of output pixel p, or 0 outside

Output pixel p = (image, y, x) has its tap (i, j) at input row (y * stride + i - padding_height) / upsample, and likewise along x; there is no such
pixel where the division leaves a remainder or the result lies outside the map. With upsample = 1 that is a convolution of any kernel, stride and
padding. The same gather on the output's gradient, with stride and upsample exchanged, padding = kernel - 1 - padding and flipped taps, gives the
input's gradient (`Geometry.transposed`): backward needs no scatter.

A value is x * scale[c] + shift[c], so a deferred batch norm is applied on the way, and the zeros of the padding stay zero.
Cost: one load and one store an element of `out`; only a block of pixels that fits in cache is gathered at a time.
"""

from typing import NamedTuple

import numpy as np
from numba import types
from numba.extending import intrinsic

from minisqx.kernels.jit import call_published, publish


class Geometry(NamedTuple):
    """Where the taps of a convolution's kernel lie; sizes in pixels."""

    kernel_height: int
    kernel_width: int
    stride: int
    upsample: int
    padding_height: int
    padding_width: int
    in_height: int
    in_width: int
    out_height: int
    out_width: int

    @property
    def taps(self) -> int:
        return self.kernel_height * self.kernel_width

    @property
    def array(self) -> np.ndarray:
        """The ten numbers in order, int64: what kernels take."""
        return np.array(self, np.int64)

    @classmethod
    def of(cls, kernel, stride, padding, input_size, output_size) -> "Geometry":
        """From (height, width) pairs."""
        return cls(*kernel, stride, 1, *padding, *input_size, *output_size)

    @property
    def transposed(self) -> "Geometry":
        """The geometry that gathers the output's gradient for each input pixel; its taps are flipped."""
        return Geometry(
            self.kernel_height,
            self.kernel_width,
            self.upsample,
            self.stride,
            self.kernel_height - 1 - self.padding_height,
            self.kernel_width - 1 - self.padding_width,
            self.out_height,
            self.out_width,
            self.in_height,
            self.in_width,
        )


def _im2col(out, out_stride, x, x_stride, channels, geometry, first, columns, pixels, scale, shift):
    kernel_height, kernel_width, stride, upsample = geometry[0], geometry[1], geometry[2], geometry[3]
    padding_height, padding_width, in_height, in_width = geometry[4], geometry[5], geometry[6], geometry[7]
    out_height, out_width = geometry[8], geometry[9]
    out_map, in_map = out_height * out_width, in_height * in_width
    last = min(first + columns, pixels)
    for c in range(channels):
        a, b = scale[c], shift[c]
        channel_at = c * x_stride
        for i in range(kernel_height):
            for j in range(kernel_width):
                row_at = ((c * kernel_height + i) * kernel_width + j) * out_stride
                offset = j - padding_width
                p = first
                image, inside = p // out_map, p % out_map
                y, start = inside // out_width, inside % out_width
                while p < last:
                    # One run: the part of one row of one image that lies in this block.
                    end = min(out_width, start + last - p)
                    to = row_at + p - first - start
                    source_y = y * stride + i - padding_height
                    inside_y = source_y >= 0 and source_y % upsample == 0 and source_y // upsample < in_height
                    if not inside_y:
                        for x_out in range(start, end):
                            out[to + x_out] = 0
                    elif stride == 1 and upsample == 1:
                        source = channel_at + image * in_map + source_y * in_width + offset
                        left = min(max(start, -offset), end)
                        right = max(min(end, in_width - offset), left)
                        for x_out in range(start, left):
                            out[to + x_out] = 0
                        for x_out in range(left, right):
                            out[to + x_out] = x[source + x_out] * a + b
                        for x_out in range(right, end):
                            out[to + x_out] = 0
                    else:
                        source = channel_at + image * in_map + source_y // upsample * in_width
                        for x_out in range(start, end):
                            source_x = x_out * stride + offset
                            if source_x >= 0 and source_x % upsample == 0 and source_x // upsample < in_width:
                                out[to + x_out] = x[source + source_x // upsample] * a + b
                            else:
                                out[to + x_out] = 0
                    p += end - start
                    start = 0
                    y += 1
                    if y == out_height:
                        y = 0
                        image += 1
                for q in range(max(last, first), first + columns):
                    out[row_at + q - first] = 0


def prepare(dtype) -> None:
    """Compiles `im2col` for a dtype, or loads it; to be called once before a kernel that uses it is compiled or run."""
    element = types.float32 if dtype == "float32" else types.float64
    pointer, index = types.CPointer(element), types.int64
    signature = types.void(pointer, index, pointer, index, index, types.CPointer(index), index, index, index, pointer, pointer)
    publish(f"minisqx_im2col_{element.name}", signature, _im2col)


@intrinsic
def im2col(typing_context, out, out_stride, x, x_stride, channels, geometry, first, columns, pixels, scale, shift):
    """Gathers output pixels `first` to `first + columns` of one chunk that has `pixels` output pixels; beyond them is zero.

    out, x: flat, beginning at element [0, 0]. geometry: `Geometry.array`. scale, shift: (channels,).
    """
    index = types.int64

    def generate(context, builder, signature, values):
        call_published(context, builder, f"minisqx_im2col_{signature.args[0].dtype.name}", signature, values)
        return context.get_dummy_value()

    return types.void(out, index, x, index, index, geometry, index, index, index, scale, shift), generate
