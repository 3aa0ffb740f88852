"""Max pooling: the largest of every window, and where it was. A window that reaches beyond the map counts what lies inside.

    out[q] = max of x over q's window;  dx[p] = sum of g[q] over the windows q whose largest was p

Of equal values the first counts, row by row, and a NaN is larger than everything: as in PyTorch. What lies where is in the tables
of `im2col` (`Taps`); a vector of outputs looks up one tap after the other, without a branch, since which pixel is the largest
can't be foreseen. Cost: a look-up and two selections for every pixel of every window forward, one addition for every window
backward.
"""

import numpy as np
from numba import prange, types

from minisqx.kernels.blocks import clear_tail, images_of, whole_vectors
from minisqx.kernels.im2col import OUT_HEIGHT, OUT_WIDTH
from minisqx.kernels.jit import njit
from minisqx.kernels.plain import intrinsic_of
from minisqx.kernels.simd import Loop, Vectors, data_pointer


def _largest(with_place: bool):
    """The loop over a row's outputs, with or without remembering which pixel was the largest."""

    def meaning(out, out_at, place, place_at, x, x_at, index, table_stride, taps, columns):
        row, table = x[x_at:], index[:taps, :columns]
        largest, largest_at = row[table[0]], table[0]
        for at in table:
            value = row[at]
            larger = ((value > largest) | np.isnan(value)) & (at >= 0)
            largest, largest_at = np.where(larger, value, largest), np.where(larger, at, largest_at)
        out[out_at : out_at + columns] = largest
        if with_place:
            place[place_at : place_at + columns] = largest_at

    @intrinsic_of(meaning)
    def largest(typing_context, out, out_at, place, place_at, x, x_at, index, table_stride, taps, columns):
        number = types.int64
        signature = types.void(out, number, place, number, x, number, index, number, number, number)

        def generate(context, builder, signature, arguments):
            v = Vectors(builder, signature.args[0].dtype)
            out, x, index = (data_pointer(context, builder, signature.args[i], arguments[i]) for i in (0, 4, 6))
            _, out_at, _, place_at, _, x_at, _, table_stride, taps, columns = arguments
            row = builder.gep(x, [x_at])
            outer = Loop(builder, "outputs", [])
            value, _ = v.gather(row, index, outer.index)
            at = v.load_indices(index, outer.index)
            inner = Loop(builder, "taps", [value, at])
            largest, largest_at = inner.values
            offset = builder.add(builder.mul(inner.index, table_stride), outer.index)
            value, inside = v.gather(row, index, offset)
            larger = builder.or_(builder.fcmp_ordered(">", value, largest), builder.fcmp_unordered("uno", value, value))
            larger = builder.and_(larger, inside)
            largest = builder.select(larger, value, largest)
            largest_at = builder.select(larger, v.load_indices(index, offset), largest_at)
            inner.close([largest, largest_at], 1, taps)
            v.store(largest, out, builder.add(out_at, outer.index))
            if with_place:
                place = data_pointer(context, builder, signature.args[2], arguments[2])
                v.store_indices(largest_at, place, builder.add(place_at, outer.index))
            outer.close([], v.lanes, columns)
            return context.get_dummy_value()

        return signature, generate

    return largest


_largest_alone, _largest_and_place = _largest(with_place=False), _largest(with_place=True)


@njit
def pool_chunk(out, out_at, out_stride, rows, place, x, x_at, x_stride, taps, pixels):
    """One chunk of `pixels` outputs, flat: rows at out[out_at:] of rows at x[x_at:].

    place: flat int32, the chunk's, as `out`: receives the pixel of x's row that was the largest; or None. taps: of the windows.
    """
    columns = whole_vectors(pixels, out.itemsize)
    count, table_stride = taps.index.shape
    for m in range(rows):
        to, at = out_at + m * out_stride, x_at + m * x_stride
        if place is None:
            _largest_alone(out, to, out, 0, x, at, taps.index, table_stride, count, columns)
        else:
            _largest_and_place(out, to, place, m * out_stride, x, at, taps.index, table_stride, count, columns)
    clear_tail(out, out_at, out_stride, rows, pixels, columns)


@njit(parallel=True)
def forward(out, place, x, x_row, taps, cut):
    """out (chunks, rows, stride) of rows `x_row` on of x (chunks, rows or more, stride); place: int32, of out's shape."""
    rows, out_stride, x_stride = out.shape[1], out.shape[2], x.shape[2]
    out_flat, x_flat = out.reshape(out.size), x.reshape(x.size)
    out_pixels = taps.geometry[OUT_HEIGHT] * taps.geometry[OUT_WIDTH]
    for chunk_ in prange(out.shape[0]):
        chunk = np.int64(chunk_)
        pool_chunk(
            out_flat, chunk * rows * out_stride, out_stride, rows, place[chunk].reshape(rows * out_stride),
            x_flat, (chunk * x.shape[1] + x_row) * x_stride, x_stride, taps, images_of(cut, chunk) * out_pixels,
        )  # fmt: skip


@njit(parallel=True)
def backward(dx, g, place, cut, map_pixels, pooled_pixels):
    """dx (chunks, rows, stride) from g, of the pooled map, and `place`, both (chunks, rows, its stride)."""
    rows = dx.shape[1]
    for chunk_ in prange(dx.shape[0]):
        chunk = np.int64(chunk_)
        images = images_of(cut, chunk)
        columns = whole_vectors(images * map_pixels, dx.itemsize)
        for m in range(rows):
            row, from_row, places = dx[chunk, m], g[chunk, m], place[chunk, m]
            for p in range(columns):
                row[p] = 0
            for q in range(images * pooled_pixels):
                row[places[q]] += from_row[q]
