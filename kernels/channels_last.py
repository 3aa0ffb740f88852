"""Inference on maps whose channels lie side by side (`Maps`, in other frameworks NHWC): convolution, max pool, and the way back.

Vectors then hold channels, so a map of one pixel fills them as well as a large one, and the pixel under a tap is read where it
lies: no im2col. It pays where channels fill vectors (`minisqx/channels_last.py`). Each output is computed by the same operations
in the same order as by `convolve_chunk` and `pool_chunk`, and has the same bits.

A map that a padded convolution reads has a border: zeros to the left and to the right of each row. Rows above and below are left
out instead.
"""

import numpy as np
from numba import types

from minisqx.kernels.blocks import clear_tail, whole_vectors
from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.geometry import (
    IN_HEIGHT,
    IN_WIDTH,
    KERNEL_HEIGHT,
    KERNEL_WIDTH,
    OUT_HEIGHT,
    OUT_WIDTH,
    STRIDE_HEIGHT,
    STRIDE_WIDTH,
)
from minisqx.kernels.max_pool import Window, larger_of
from minisqx.kernels.structures import Affine, Matrix
from minisqx.kernels.tiles.channel_vectors import convolution_of_maps
from minisqx.kernels.tiles.plain import intrinsic_of
from minisqx.kernels.tiles.simd import Loop, Vectors, unpacked


@njit
def convolve(out, x, images, geometry, channels, outputs, constants, activation, border):
    """One chunk of a convolution of x: out = f(W x + bias) * scale + shift, both `Maps`.

    constants: `Folded`. activation: the number of f. border: zeros that are written beside each row of out, in pixels.
    """
    if border > 0:
        beside = border * out.pixel
        for row in range(images * geometry[OUT_HEIGHT]):
            left = out.at + row * out.row
            right = left + geometry[OUT_WIDTH] * out.pixel
            for p in range(beside):
                out.data[left - beside + p] = 0
                out.data[right + p] = 0
    weight, epilogue = Matrix(constants.weight, 0, outputs), Affine(constants.bias, constants.scale, constants.shift)
    convolution_of_maps(out, x, weight, geometry, images, channels, outputs, epilogue, activation)


def _meaning(out, to, x, at, window, channels):
    pixels = [at + i * x.row + j * x.pixel for i in range(window.rows) for j in range(window.columns)]
    largest = x.data[at : at + channels]
    for pixel in pixels[1:]:
        values = x.data[pixel : pixel + channels]
        largest = np.where((values > largest) | np.isnan(values), values, largest)
    out.data[to : to + channels] = largest


@intrinsic_of(_meaning)
def _largest(typing_context, out, to, x, at, window, channels):
    """Writes all channels of an output pixel, up to a whole vector, from those of its `Window`."""
    index = types.int64
    signature = types.void(out, index, x, index, window, index)

    def generate(context, builder, signature, arguments):
        v = Vectors(builder, signature.args[0].types[0].dtype)
        out, to, x, at, window, channels = (unpacked(context, builder, *each) for each in zip(signature.args, arguments))
        across = Loop(builder, "channels", [])
        first = builder.add(at, across.index)
        down = Loop(builder, "rows", [v.load(x.data, first)])
        along = Loop(builder, "columns", down.values)
        offset = builder.add(builder.mul(down.index, x.row), builder.mul(along.index, x.pixel))
        value = v.load(x.data, builder.add(first, offset))
        largest = [builder.select(larger_of(v, value, along.values[0]), value, along.values[0])]
        along.close(largest, 1, window.columns)
        down.close(largest, 1, window.rows)
        v.store(largest[0], out.data, builder.add(to, across.index))
        across.close([], v.lanes, channels)
        return context.get_dummy_value()

    return signature, generate


@njit
def pool(out, x, images, channels, geometry):
    """One chunk of a max pool without padding; both `Maps`."""
    for image in range(images):
        for y in range(geometry[OUT_HEIGHT]):
            top = y * geometry[STRIDE_HEIGHT]
            rows = min(geometry[KERNEL_HEIGHT], geometry[IN_HEIGHT] - top)
            for column in range(geometry[OUT_WIDTH]):
                left = column * geometry[STRIDE_WIDTH]
                window = Window(rows, min(geometry[KERNEL_WIDTH], geometry[IN_WIDTH] - left))
                to = out.at + image * out.image + y * out.row + column * out.pixel
                _largest(out, to, x, x.at + image * x.image + top * x.row + left * x.pixel, window, channels)


@njit
def to_rows(out, x, images, channels, height, width):
    """Copies `Maps` to a `Matrix` (channels, pixels)."""
    for c in range(channels):
        p = out.at + c * out.stride
        for image in range(images):
            for y in range(height):
                at = x.at + image * x.image + y * x.row + c * x.channel
                for column in range(width):
                    out.data[p] = x.data[at + column * x.pixel]
                    p += 1
    pixels = images * height * width
    clear_tail(out, channels, pixels, whole_vectors(pixels, out.data.itemsize))
