"""im2col: gathers the pixels under a convolution's kernel, so that the convolution becomes a matrix product.

    out[(c * kernel_height + i) * kernel_width + j, p] = value of channel c at the pixel under tap (i, j) of output
    pixel p, or 0 outside

Output pixel p = (image, y, x) has its tap (i, j) at input row (y * stride_height + i - padding_height) / upsample_height,
and likewise along x; there is no such pixel where the division leaves a remainder or the result lies outside the map. With
upsample = 1 that is a convolution of any kernel, stride and padding. The same gather on the output's gradient, with
stride and upsample exchanged, padding = kernel - 1 - padding and flipped taps, gives the input's gradient
(`Geometry.transposed`): backward needs no scatter.

A value is f(x * scale[c] + shift[c]), so a deferred batch norm and activation are applied on the way, and the zeros of the
padding stay zero. The input pixel under each tap is in tables that are made once per geometry (`Taps`). Of three loops, the
fastest that applies fills the rows:

- the map keeps its size (1x3, 3x1, 3x3 with padding): row t is the input shifted by a constant, masked by `inside`;
- no stride otherwise (the stem), no activation, and rows as long as a vector: an output row is a run of an input row, copied as
  vectors;
- all else: a look-up for each element, as vectors where the CPU can.

Cost: one load and one store an element of `out`; only a block of pixels that fits in cache is gathered at a time.
"""

import numpy as np
from numba import types
from numba.core import cgutils, typing

from minisqx.kernels.activation import NO_ACTIVATION
from minisqx.kernels.compiler.published import call_published, publish
from minisqx.kernels.geometry import Taps
from minisqx.kernels.sampling import pixel_at, rows_below
from minisqx.kernels.structures import Block, Chunk, Matrix
from minisqx.kernels.tiles.plain import activate, addresses, intrinsic_of
from minisqx.kernels.tiles.simd import (
    INDEX,
    VECTOR_BYTES,
    Loop,
    Vectors,
    advance,
    as_c_argument,
    for_each_activation,
    lanes,
    multiply_add,
    structure,
)


def _copied(out, out_width, x, x_width, rows, scale, shift):
    out.block(rows, out_width, out_width)[...] = x.block(rows, out_width, x_width) * scale + shift


@intrinsic_of(_copied)
def _copy_rows(typing_context, out, out_width, x, x_width, rows, scale, shift):
    """out[r * out_width + p] = x[r * x_width + p] * scale + shift for 0 <= p < out_width and `rows` rows, at least one.

    Whole vectors, row after row: what one writes beyond the end of its row is written again by the next row. After the last,
    up to a vector more of `out` is overwritten.
    """
    index = types.int64
    signature = types.void(out, index, x, index, index, scale, shift)

    def generate(context, builder, signature, arguments):
        v = Vectors(builder, signature.args[0].dtype)
        out, out_width, x, x_width, rows, scale, shift = arguments
        scale, shift = v.broadcast(scale), v.broadcast(shift)
        outer = Loop(builder, "rows", [])
        to, origin = builder.mul(outer.index, out_width), builder.mul(outer.index, x_width)
        inner = Loop(builder, "row", [])
        value = v.multiply_add(v.load(x, builder.add(origin, inner.index)), scale, shift)
        v.store(value, out, builder.add(to, inner.index))
        inner.close([], v.lanes, out_width)
        outer.close([], 1, rows)
        return context.get_dummy_value()

    return signature, generate


def _looked_up(out, x, index, columns, scale, shift, activation):
    at = index.row(columns)
    values = np.array([x[p] for p in np.maximum(at, 0)])
    out.row(columns)[...] = np.where(at >= 0, activate(values * scale + shift, activation), 0)


@intrinsic_of(_looked_up)
def _look_up(typing_context, out, x, index, columns, scale, shift, activation):
    """out[p] = f(x[index[p]] * scale + shift), or 0 where index[p] is negative, for `columns` p, a multiple of a vector."""
    signature = types.void(out, x, index, types.int64, scale, shift, types.int64)

    def generate(context, builder, signature, arguments):
        v = Vectors(builder, signature.args[0].dtype)
        out, x, index, columns, scale, shift, activation = arguments
        scale, shift = v.broadcast(scale), v.broadcast(shift)

        def emit(activation: int) -> None:
            loop = Loop(builder, "look_up", [])
            value, inside = v.gather(x, index, loop.index)
            value = v.activate(v.multiply_add(value, scale, shift), activation)
            v.store(builder.select(inside, value, v.constant(0.0)), out, loop.index)
            loop.close([], v.lanes, columns)

        for_each_activation(builder, activation, emit)
        return context.get_dummy_value()

    return signature, generate


def _moved(out, x, inside, columns, scale, shift, activation):
    values = activate(x.row(columns) * scale + shift, activation)
    out.row(columns)[...] = np.where(inside.row(columns) > 0, values, 0)


@intrinsic_of(_moved)
def _move(typing_context, out, x, inside, columns, scale, shift, activation):
    """out[p] = f(x[p] * scale + shift), or 0 where inside[p] is 0, for `columns` p, at least a vector.

    The last vector ends with the last p, so some elements may be written twice.
    """
    signature = types.void(out, x, inside, types.int64, scale, shift, types.int64)

    def generate(context, builder, signature, arguments):
        v = Vectors(builder, signature.args[0].dtype)
        out, x, inside, columns, scale, shift, activation = arguments
        scale, shift, zero = v.broadcast(scale), v.broadcast(shift), v.constant(0.0)
        last = builder.sub(columns, INDEX(v.lanes))

        def emit(activation: int) -> None:
            loop = Loop(builder, "move", [])
            at = builder.select(builder.icmp_signed("<", loop.index, last), loop.index, last)
            value = v.activate(v.multiply_add(v.load(x, at), scale, shift), activation)
            v.store(v.select(">", v.load(inside, at), zero, value, zero), out, at)
            loop.close([], v.lanes, columns)

        for_each_activation(builder, activation, emit)
        return context.get_dummy_value()

    return signature, generate


def _im2col(out, x, channels, taps, table_stride, block, lane_count):
    """The C function: `im2col`, with the addresses of all arrays. table_stride: of the rows of the tables in `taps`."""
    geometry, first, columns, pixels = taps.geometry, block.first, block.columns, block.pixels
    tap_count = geometry[0] * geometry[1]
    strided = geometry[2] * geometry[3] * geometry[4] * geometry[5] > 1
    padding_height, padding_width = geometry[6], geometry[7]
    in_height, in_width, out_height, out_width = geometry[8], geometry[9], geometry[10], geometry[11]
    same = not strided and in_height == out_height and in_width == out_width
    last = min(first + columns, pixels)
    zero, f = x.data[x.at] * 0, x.activation
    for c in range(channels):
        a, b, channel = x.scale[c], x.shift[c], advance(x.data, x.at + c * x.stride)
        for t in range(tap_count):
            # row[p], first <= p < first + columns: this tap of output pixel p; the tap lies i rows below the pixel, j to its
            # right.
            row = advance(out.data, out.at + (c * tap_count + t) * out.stride - first)
            i, j = t // geometry[1] - padding_height, t % geometry[1] - padding_width
            # Between left and right a pixel moved by i rows and j pixels exists, though it may belong to another row or image.
            offset = i * in_width + j
            left = min(max(first, -offset), first + columns)
            right = max(left, min(first + columns, pixels - offset))
            if same and right - left >= lane_count:
                # The input's row moved by i rows and j pixels; the mask is 0 where that leaves the map.
                for p in range(first, left):
                    row[p] = zero
                mask = advance(taps.inside, t * table_stride + left)
                _move(advance(row, left), advance(channel, left + offset), mask, right - left, a, b, f)
                for p in range(right, first + columns):
                    row[p] = zero
            elif not strided and out_width >= lane_count and f == NO_ACTIVATION:
                # Each row of the output's map is a run of a row of the input's map.
                p, pixel = first, pixel_at(first, out_height, out_width)
                while p < last:
                    from_y = pixel.y + i
                    source = advance(channel, (pixel.image * in_height + from_y) * in_width + j)
                    # As many whole rows as lie inside the map, and leave room for what the last one writes beyond its end.
                    rows = 0
                    if pixel.x == 0 and from_y >= 0 and j >= 0 and j + out_width <= in_width:
                        beyond = (lane_count - out_width % lane_count) % lane_count
                        rows = min((first + columns - p - beyond) // out_width, (last - p) // out_width, out_height - pixel.y)
                        rows = min(rows, in_height - from_y)
                    if rows > 0:
                        _copy_rows(advance(row, p), out_width, source, in_width, rows, a, b)
                        p += rows * out_width
                        pixel = rows_below(pixel, rows, out_height)
                    else:
                        # The part of one row of one image that lies in this block.
                        start = pixel.x
                        end = min(out_width, start + last - p)
                        left = min(max(start, -j), end)
                        right = max(min(end, in_width - j), left)
                        if from_y < 0 or from_y >= in_height:
                            left = right = end
                        target = advance(row, p - start)
                        for q in range(start, left):
                            target[q] = zero
                        for q in range(left, right):
                            target[q] = multiply_add(source[q], a, b)
                        for q in range(right, end):
                            target[q] = zero
                        p += end - start
                        pixel = rows_below(pixel, 1, out_height)
                for q in range(max(last, first), first + columns):
                    row[q] = zero
            else:
                # Any stride or upsampling: the pixel is looked up in the table.
                _look_up(advance(row, first), channel, advance(taps.index, t * table_stride + first), columns, a, b, f)
                # The last chunk may have fewer images than the table.
                for q in range(max(pixels, first), first + columns):
                    row[q] = zero


def _name(element: types.Float) -> str:
    return f"minisqx_im2col_{element.name}"


def prepare(dtype) -> None:
    """Compiles `im2col` for a dtype, or loads it. Call it before a kernel that uses it is compiled or run."""
    element = types.float32 if dtype == "float32" else types.float64
    pointer, index = types.CPointer(element), types.int64
    out, x = structure(Matrix, pointer, index, index), structure(Chunk, pointer, index, index, pointer, pointer, index)
    taps = structure(Taps, types.CPointer(index), pointer, types.CPointer(types.int32))
    signature = types.void(out, x, index, taps, index, structure(Block, index, index, index), index)
    publish(_name(element), signature, _im2col)


def _called(out, x, channels, taps, block):
    table_stride, lane_count = taps.inside.shape[1], VECTOR_BYTES // out.data.itemsize
    _im2col(*addresses((out, x, channels, taps, table_stride, block, lane_count)))


@intrinsic_of(_called)
def im2col(typing_context, out, x, channels, taps, block):
    """Gathers a `Block` of output pixels of a chunk; beyond the pixels is zero.

    out: `Matrix` (channels * taps, columns), column 0 the block's first. x: `Chunk` of `channels` rows, whose scale, shift and
    activation are applied.
    """
    index = types.int64

    def generate(context, builder, signature, values):
        arguments = [as_c_argument(context, builder, *each) for each in zip(signature.args, values, strict=True)]
        place = Taps._fields.index("inside")
        array = signature.args[3].types[place]
        inside = context.make_array(array)(context, builder, builder.extract_value(values[3], place))
        arguments.insert(4, (index, cgutils.unpack_tuple(builder, inside.shape)[1]))  # table_stride
        arguments.append((index, INDEX(lanes(array.dtype))))
        call = typing.signature(types.void, *(given for given, _ in arguments))
        call_published(context, builder, _name(array.dtype), call, [value for _, value in arguments])
        return context.get_dummy_value()

    return types.void(out, x, index, taps, block), generate
