"""Max pooling: the largest of every window, and where it was. A window that reaches beyond the map counts what lies inside.

    out[q] = max of x over q's window;  dx[p] = sum of g[q] over the windows q whose largest was p

Of equal values the first counts, row by row, and a NaN is larger than everything: as in PyTorch. There are no branches, since
which pixel is the largest is unpredictable. With stride 2 a vector holds pixels of one row of the map, each the first of a
window, and the taps are the same vector moved; every other result is then dropped. Where an output row has few pixels, and for
other strides, a vector of outputs looks up one tap after the other in the tables of `im2col` (`Taps`).

Cost: a load and two selections for every pixel of every window forward, one addition for every window backward. A look-up takes
ten times as long as a load, of which half count.
"""

from typing import NamedTuple

import numpy as np
from numba import types

from minisqx.kernels.blocks import clear_tail, matrix_of, pixels_of, whole_vectors
from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.compiler.tasks import Chunked, Task
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
from minisqx.kernels.structures import Matrix, Rows
from minisqx.kernels.tiles.plain import intrinsic_of
from minisqx.kernels.tiles.simd import INDEX, VECTOR_BYTES, Loop, Vectors, moved, unpacked


def larger_of(v, value, largest):
    """Whether a value takes the place of the largest so far."""
    builder = v.builder
    return builder.or_(builder.fcmp_ordered(">", value, largest), builder.fcmp_unordered("uno", value, value))


def _largest_of_row(with_place: bool):
    """The windows that begin in one row of the map, with stride 2, with or without remembering which pixel was the largest."""

    def meaning(out, place, x, m, at, to, window, width, left):
        rows, kernel = window
        row = x.data[x.at + m * x.stride :]
        for column in range(0, min(left, VECTOR_BYTES // row.itemsize), 2):
            taps = [at + column + i * width + j for i in range(rows) for j in range(min(kernel, left - column))]
            largest_at = taps[0]
            for tap in taps[1:]:
                if row[tap] > row[largest_at] or np.isnan(row[tap]):
                    largest_at = tap
            out.data[out.at + m * out.stride + to + column // 2] = row[largest_at]
            if with_place:
                place.data[place.at + m * place.stride + to + column // 2] = largest_at

    @intrinsic_of(meaning)
    def largest(typing_context, out, place, x, m, at, to, window, width, left):
        number = types.int64
        signature = types.void(out, place, x, number, number, number, window, number, number)

        def generate(context, builder, signature, arguments):
            v = Vectors(builder, signature.args[0].types[0].dtype)
            *matrices, m, at, to, window, width, left = (
                unpacked(context, builder, *each) for each in zip(signature.args, arguments)
            )
            out, place, row = (moved(builder, matrix, m, INDEX(0)).data for matrix in matrices)
            rows = Loop(builder, "rows", [v.load(row, at), v.indices_from(at)])
            from_row = builder.add(at, builder.mul(rows.index, width))
            taps = Loop(builder, "taps", rows.values)
            largest, largest_at = taps.values
            from_tap = builder.add(from_row, taps.index)
            value = v.load(row, from_tap)
            inside = v.first_lanes(builder.sub(left, taps.index))
            larger = builder.and_(larger_of(v, value, largest), inside)
            largest = builder.select(larger, value, largest)
            largest_at = builder.select(larger, v.indices_from(from_tap), largest_at)
            taps.close([largest, largest_at], 1, window.columns)
            rows.close([largest, largest_at], 1, window.rows)
            v.store(v.even_lanes(largest, largest), out, to)
            if with_place:
                v.store_indices(v.even_lanes(largest_at, largest_at), place, to)
            return context.get_dummy_value()

        return signature, generate

    return largest


def _largest(with_place: bool):
    """The loop over the outputs of row m from `first` on, with or without remembering which pixel was the largest."""

    def meaning(out, place, x, m, index, table_stride, taps, first, columns):
        row, table = x.data[x.at + m * x.stride :], index[:taps, first:columns]
        largest, largest_at = row[table[0]], table[0]
        for at in table:
            value = row[at]
            larger = ((value > largest) | np.isnan(value)) & (at >= 0)
            largest, largest_at = np.where(larger, value, largest), np.where(larger, at, largest_at)
        out.data[out.at + m * out.stride :][first:columns] = largest
        if with_place:
            place.data[place.at + m * place.stride :][first:columns] = largest_at

    @intrinsic_of(meaning)
    def largest(typing_context, out, place, x, m, index, table_stride, taps, first, columns):
        number = types.int64
        signature = types.void(out, place, x, number, index, number, number, number, number)

        def generate(context, builder, signature, arguments):
            v = Vectors(builder, signature.args[0].types[0].dtype)
            *matrices, m, index, table_stride, taps, first, columns = (
                unpacked(context, builder, *each) for each in zip(signature.args, arguments)
            )
            out, place, row = (moved(builder, matrix, m, INDEX(0)).data for matrix in matrices)
            outer = Loop(builder, "outputs", [])
            output = builder.add(first, outer.index)
            value, _ = v.gather(row, index, output)
            at = v.load_indices(index, output)
            inner = Loop(builder, "taps", [value, at])
            largest, largest_at = inner.values
            offset = builder.add(builder.mul(inner.index, table_stride), output)
            value, inside = v.gather(row, index, offset)
            larger = builder.and_(larger_of(v, value, largest), inside)
            largest = builder.select(larger, value, largest)
            largest_at = builder.select(larger, v.load_indices(index, offset), largest_at)
            inner.close([largest, largest_at], 1, taps)
            v.store(largest, out, output)
            if with_place:
                v.store_indices(largest_at, place, output)
            outer.close([], v.lanes, builder.sub(columns, first))
            return context.get_dummy_value()

        return signature, generate

    return largest


_largest_alone, _largest_and_place = _largest(with_place=False), _largest(with_place=True)
_largest_of_row_alone, _largest_of_row_and_place = _largest_of_row(with_place=False), _largest_of_row(with_place=True)


class Window(NamedTuple):
    """The rows and columns of a window."""

    rows: int
    columns: int


@njit
def pool_rows(out, x, m, geometry, images, columns, place):
    """The outputs of row m, one row of the map after the other, except for those of the last vector of `columns`.

    A vector is stored whole, and what it writes beyond the end of its row is written again by the next row.
    """
    in_height, in_width = geometry[IN_HEIGHT], geometry[IN_WIDTH]
    out_height, out_width = geometry[OUT_HEIGHT], geometry[OUT_WIDTH]
    lane_count = VECTOR_BYTES // out.data.itemsize
    for image in range(images):
        for y in range(out_height):
            top = y * geometry[STRIDE_HEIGHT]
            window = Window(min(geometry[KERNEL_HEIGHT], in_height - top), geometry[KERNEL_WIDTH])
            for column in range(0, out_width, lane_count // 2):
                at, to = (image * in_height + top) * in_width + 2 * column, (image * out_height + y) * out_width + column
                left = in_width - 2 * column
                if to + lane_count > columns:
                    return
                if place is None:
                    _largest_of_row_alone(out, out, x, m, at, to, window, in_width, left)
                else:
                    _largest_of_row_and_place(out, Matrix(place, 0, out.stride), x, m, at, to, window, in_width, left)


@njit
def pool_chunk(out, x, rows, taps, pixels, place):
    """One chunk of `pixels` outputs: out `Matrix` (rows, pixels), x `Matrix` of as many rows. taps: `Taps` of the windows.

    place: flat int32, rows of out's stride, receives the pixel of x's row that was the largest; or None.
    """
    columns, geometry, first = whole_vectors(pixels, out.data.itemsize), taps.geometry, 0
    count, table_stride = taps.index.shape
    lane_count = VECTOR_BYTES // out.data.itemsize
    by_rows = geometry[STRIDE_WIDTH] == 2 and 8 * geometry[OUT_WIDTH] >= lane_count
    if by_rows:
        first = columns - lane_count
    for m in range(rows):
        if by_rows:
            pool_rows(out, x, m, geometry, pixels // (geometry[OUT_HEIGHT] * geometry[OUT_WIDTH]), columns, place)
        if place is None:
            _largest_alone(out, out, x, m, taps.index, table_stride, count, first, columns)
        else:
            _largest_and_place(out, Matrix(place, 0, out.stride), x, m, taps.index, table_stride, count, first, columns)
    clear_tail(out, rows, pixels, columns)


@njit
def pool(out, index, x, taps, cut, place):
    """One chunk of `forward`."""
    chunk, rows, stride = place.piece, out.shape[1], out.shape[2]
    places = index[chunk].reshape(rows * stride)
    pool_chunk(matrix_of(Rows(out, 0), chunk), matrix_of(x, chunk), rows, taps, pixels_of(cut, chunk), places)


# forward(out, index, x, taps, cut): out (chunks, rows, stride) of x, `Rows`; index: int32, of out's shape, receives where each
# maximum was. cut: of out.
forward = Task(Chunked(pool, lambda out, *_: len(out)))


@njit
def scatter(dx, g, index, cut, pooled_cut, place):
    """One chunk of `backward`."""
    chunk = place.piece
    columns = whole_vectors(pixels_of(cut, chunk), dx.itemsize)
    for m in range(dx.shape[1]):
        row, from_row, places = dx[chunk, m], g[chunk, m], index[chunk, m]
        for p in range(columns):
            row[p] = 0
        for q in range(pixels_of(pooled_cut, chunk)):
            row[places[q]] += from_row[q]


# backward(dx, g, index, cut, pooled_cut): dx (chunks, rows, stride) from g, of the pooled map, and `index`, both (chunks, rows,
# its stride). cut: of dx; pooled_cut: of g.
backward = Task(Chunked(scatter, lambda dx, *_: len(dx)))
