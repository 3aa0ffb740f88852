"""The product of a convolution of maps whose channels lie side by side (`Maps`): a vector holds channels of the output.

    out[p, m] = f(bias[m] + sum_k weight[k, m] x[k, p]) * scale[m] + shift[m],   k = (channel, tap)

x[k, p] is the pixel under the tap of output pixel p, read where it lies: no im2col. A tile has some pixels of one row of a map,
and some vectors of outputs. A row of taps above or below the map is left out; beside the map, x must have zeros. Each output is
the same chain of multiply-adds over k as in `product`, and has the same bits, unless all its terms are -0.

Cost: M K P multiply-adds without those taps. `product` fills its vectors with pixels; on a map of one pixel they would be empty.
A tile reads its part of the weight once for all of its pixels. With at most FEW pixels in a row it has twice as many vectors,
since then there are registers for them.

Where M is no multiple of a vector, arbitrary numbers are written after a pixel's last output, and what follows a row of the
weight, the bias, scale and shift is read.
"""

from typing import NamedTuple

from numba import types

from minisqx.kernels.compiler.published import publish
from minisqx.kernels.geometry import (
    IN_HEIGHT,
    KERNEL_HEIGHT,
    KERNEL_WIDTH,
    OUT_HEIGHT,
    OUT_WIDTH,
    PADDING_HEIGHT,
    PADDING_WIDTH,
    STRIDE_HEIGHT,
    STRIDE_WIDTH,
)
from minisqx.kernels.structures import Affine, Maps, Matrix
from minisqx.kernels.tiles.plain import activate, addresses, intrinsic_of
from minisqx.kernels.tiles.product import ROWS, VECTORS, emit_call
from minisqx.kernels.tiles.simd import (
    INDEX,
    VECTOR_BYTES,
    Loop,
    Vectors,
    for_each_activation,
    lanes,
    moved,
    structure,
    switch,
    unpacked,
)

FEW = ROWS // 2


class Tile(NamedTuple):
    """Where a tile reads and writes, and its size: `pixels` of a row of a map, `vectors` of outputs from output `first` on.

    out_at, x_at: of its first pixel, and of what lies under that pixel's first tap. out_step, x_step: from pixel to pixel.
    """

    out_at: int
    out_step: int
    x_at: int
    x_step: int
    first: int
    pixels: int
    vectors: int


class Window(NamedTuple):
    """The taps of a tile: channels x rows first_row : last_row of `rows` x columns, and each one's distance to the next in x."""

    channels: int
    channel_step: int
    rows: int
    first_row: int
    last_row: int
    row_step: int
    columns: int
    column_step: int


def _meaning(tile, window, out, weight, x, given, activation):
    count = tile.vectors * VECTOR_BYTES // out.array.itemsize
    bias, scale, shift = ((each + tile.first).row(count) for each in given)
    z = bias[None].repeat(tile.pixels, axis=0)
    for c in range(window.channels):
        for i in range(window.first_row, window.last_row):
            for j in range(window.columns):
                k = (c * window.rows + i) * window.columns + j
                weights = (weight.data + weight.at + k * weight.stride + tile.first).row(count)
                at = tile.x_at + c * window.channel_step + i * window.row_step + j * window.column_step
                z += (x + at).block(tile.pixels, 1, tile.x_step) * weights
    (out + tile.out_at + tile.first).block(tile.pixels, count, tile.out_step)[...] = activate(z, activation) * scale + shift


@intrinsic_of(_meaning)
def _channel_tile(typing_context, tile, window, out, weight, x, given, activation):
    signature = types.void(tile, window, out, weight, x, given, types.int64)

    def generate(context, builder, signature, arguments):
        v = Vectors(builder, signature.args[2].dtype)
        tile, window, out, weight, x, given, activation = (
            unpacked(context, builder, *each) for each in zip(signature.args, arguments)
        )
        out, x = builder.gep(out, [builder.add(tile.out_at, tile.first)]), builder.gep(x, [tile.x_at])
        weight = moved(builder, weight, INDEX(0), tile.first)
        bias, scale, shift = (builder.gep(base, [tile.first]) for base in given)

        def emit(pixels: int, vectors: int) -> None:
            columns = [INDEX(n * v.lanes) for n in range(vectors)]
            initial = []
            for column in columns:
                initial += [v.load(bias, column)] * pixels
            across = Loop(builder, "channels", initial)
            down = Loop(builder, "rows", across.values)
            along = Loop(builder, "columns", down.values)
            i = builder.add(window.first_row, down.index)
            k = builder.add(builder.mul(across.index, window.rows), i)
            k = builder.add(builder.mul(k, window.columns), along.index)
            at = builder.add(builder.mul(across.index, window.channel_step), builder.mul(i, window.row_step))
            at = builder.add(at, builder.mul(along.index, window.column_step))
            values = [v.broadcast(v.load_scalar(x, builder.add(at, builder.mul(INDEX(p), tile.x_step)))) for p in range(pixels)]
            # A vector of the weight at a time, so that those of the largest tile need no registers.
            sums = []
            for n, column in enumerate(columns):
                weights = v.load(weight.data, builder.add(builder.mul(k, weight.stride), column))
                sums += [v.multiply_add(values[p], weights, along.values[n * pixels + p]) for p in range(pixels)]
            along.close(sums, 1, window.columns)
            down.close(sums, 1, builder.sub(window.last_row, window.first_row))
            across.close(sums, 1, window.channels)

            def end(activation: int) -> None:
                for n, column in enumerate(columns):
                    scales, shifts = v.load(scale, column), v.load(shift, column)
                    for p in range(pixels):
                        value = v.multiply_add(v.activate(sums[n * pixels + p], activation), scales, shifts)
                        v.store(value, out, builder.add(builder.mul(INDEX(p), tile.out_step), column))

            for_each_activation(builder, activation, end)

        shapes = {(pixels, vectors) for pixels in range(1, ROWS + 1) for vectors in (1, 2, VECTORS)}
        shapes |= {(pixels, 2 * VECTORS) for pixels in range(1, FEW + 1)}
        selector = builder.add(builder.mul(tile.pixels, INDEX(2 * VECTORS + 1)), tile.vectors)
        cases = {p * (2 * VECTORS + 1) + n: lambda p=p, n=n: emit(p, n) for p, n in sorted(shapes)}
        switch(builder, selector, cases)
        return context.get_dummy_value()

    return signature, generate


def _convolution(out, x, weight, geometry, images, channels, outputs, given, activation, lane_count):
    """The C function: covers outputs x pixels with tiles of nearly equal numbers of pixels."""
    kernel_height, kernel_width = geometry[KERNEL_HEIGHT], geometry[KERNEL_WIDTH]
    stride, padding, in_height = geometry[STRIDE_HEIGHT], geometry[PADDING_HEIGHT], geometry[IN_HEIGHT]
    height, width, x_step = geometry[OUT_HEIGHT], geometry[OUT_WIDTH], geometry[STRIDE_WIDTH] * x.pixel
    corner = x.at - padding * x.row - geometry[PADDING_WIDTH] * x.pixel
    pointwise = kernel_height * kernel_width == 1
    dense = x.row == width * x.pixel and out.row == width * out.pixel and x.image == height * x.row
    if pointwise and stride * geometry[STRIDE_WIDTH] == 1 and dense:
        # Without a border, the rows of all maps are one row of pixels.
        images, height, width, in_height = 1, 1, images * height * width, 1
    vectors = (outputs + lane_count - 1) // lane_count
    most = FEW if width <= FEW else ROWS
    tiles = (width + most - 1) // most
    done = 0
    while done < vectors:
        left = vectors - done
        count = 1
        if left >= 2 * VECTORS and most == FEW:
            count = 2 * VECTORS
        elif left >= VECTORS:
            count = VECTORS
        elif left >= 2:
            count = 2
        for image in range(images):
            for y in range(height):
                first_row, last_row = max(0, padding - y * stride), min(kernel_height, in_height + padding - y * stride)
                window = Window(channels, x.channel, kernel_height, first_row, last_row, x.row, kernel_width, x.pixel)
                if pointwise:
                    # One loop over the channels instead of three.
                    window = Window(1, 0, 1, 0, 1, 0, channels, x.channel)
                to, source = out.at + image * out.image + y * out.row, corner + image * x.image + y * stride * x.row
                column = 0
                for t in range(tiles):
                    pixels = (width - column + tiles - t - 1) // (tiles - t)
                    x_at = source + column * x_step
                    tile = Tile(to + column * out.pixel, out.pixel, x_at, x_step, done * lane_count, pixels, count)
                    _channel_tile(tile, window, out.data, weight, x.data, given, activation)
                    column += pixels
        done += count


def _name(element: types.Float) -> str:
    return f"minisqx_channel_vectors_{element.name}"


def prepare(dtype) -> None:
    """Compiles `convolution_of_maps` for a dtype, or loads it. Call it before a kernel that uses it is compiled or run."""
    element = types.float32 if dtype == "float32" else types.float64
    pointer, index = types.CPointer(element), types.int64
    maps, matrix = structure(Maps, pointer, *[index] * 5), structure(Matrix, pointer, index, index)
    given = structure(Affine, pointer, pointer, pointer)
    signature = types.void(maps, maps, matrix, types.CPointer(index), index, index, index, given, index, index)
    publish(_name(element), signature, _convolution)


def _called(out, *others):
    _convolution(*addresses((out, *others)), VECTOR_BYTES // out.data.itemsize)


@intrinsic_of(_called)
def convolution_of_maps(typing_context, out, x, weight, geometry, images, channels, outputs, epilogue, activation):
    """Computes `outputs` channels of out from `channels` channels of x, both `Maps`, and weight, a `Matrix` (K, outputs).

    geometry: an array, as in `Taps`. epilogue: `Affine`. activation: the number of f.
    """
    index = types.int64

    def generate(context, builder, signature, values):
        element = signature.args[0].types[0].dtype
        emit_call(_name(element), context, builder, signature.args, values, more=[lanes(element)])
        return context.get_dummy_value()

    return types.void(out, x, weight, geometry, index, index, index, epilogue, index), generate
