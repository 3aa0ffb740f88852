"""Max pooling: the largest of every window, and where it was. A window that reaches beyond the map counts what lies inside.

    out[q] = max of x over q's window;  dx[p] = sum of g[q] over the windows q whose largest was p

Of equal values the first counts, row by row, and a NaN is larger than everything: as in PyTorch. The taps come from the tables
of `im2col` (`Taps`). A vector of outputs looks up one tap after the other, without branches, since which pixel is the largest is
unpredictable. Cost: a look-up and two selections for every pixel of every window forward, one addition for every window
backward.
"""

import numpy as np
from numba import types

from minisqx.kernels.blocks import clear_tail, matrix_of, pixels_of, whole_vectors
from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.compiler.tasks import Shared, Task
from minisqx.kernels.structures import Matrix, Rows
from minisqx.kernels.tiles.plain import intrinsic_of
from minisqx.kernels.tiles.simd import INDEX, Loop, Vectors, moved, unpacked


def _largest(with_place: bool):
    """The loop over the outputs of row m, with or without remembering which pixel was the largest."""

    def meaning(out, place, x, m, index, table_stride, taps, columns):
        row, table = x.data[x.at + m * x.stride :], index[:taps, :columns]
        largest, largest_at = row[table[0]], table[0]
        for at in table:
            value = row[at]
            larger = ((value > largest) | np.isnan(value)) & (at >= 0)
            largest, largest_at = np.where(larger, value, largest), np.where(larger, at, largest_at)
        out.data[out.at + m * out.stride :][:columns] = largest
        if with_place:
            place.data[place.at + m * place.stride :][:columns] = largest_at

    @intrinsic_of(meaning)
    def largest(typing_context, out, place, x, m, index, table_stride, taps, columns):
        number = types.int64
        signature = types.void(out, place, x, number, index, number, number, number)

        def generate(context, builder, signature, arguments):
            v = Vectors(builder, signature.args[0].types[0].dtype)
            *matrices, m, index, table_stride, taps, columns = (
                unpacked(context, builder, *each) for each in zip(signature.args, arguments)
            )
            out, place, row = (moved(builder, matrix, m, INDEX(0)).data for matrix in matrices)
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
            v.store(largest, out, outer.index)
            if with_place:
                v.store_indices(largest_at, place, outer.index)
            outer.close([], v.lanes, columns)
            return context.get_dummy_value()

        return signature, generate

    return largest


_largest_alone, _largest_and_place = _largest(with_place=False), _largest(with_place=True)


@njit
def pool_chunk(out, x, rows, taps, pixels, place):
    """One chunk of `pixels` outputs: out `Matrix` (rows, pixels), x `Matrix` of as many rows. taps: `Taps` of the windows.

    place: flat int32, rows of out's stride, receives the pixel of x's row that was the largest; or None.
    """
    columns = whole_vectors(pixels, out.data.itemsize)
    count, table_stride = taps.index.shape
    for m in range(rows):
        if place is None:
            _largest_alone(out, out, x, m, taps.index, table_stride, count, columns)
        else:
            _largest_and_place(out, Matrix(place, 0, out.stride), x, m, taps.index, table_stride, count, columns)
    clear_tail(out, rows, pixels, columns)


@njit
def pool(out, index, x, taps, cut, place):
    """One chunk of `forward`."""
    chunk, rows, stride = place.piece, out.shape[1], out.shape[2]
    places = index[chunk].reshape(rows * stride)
    pool_chunk(matrix_of(Rows(out, 0), chunk), matrix_of(x, chunk), rows, taps, pixels_of(cut, chunk), places)


# forward(out, index, x, taps, cut): out (chunks, rows, stride) of x, `Rows`; index: int32, of out's shape, receives where each
# maximum was. cut: of out.
forward = Task(Shared(pool, lambda out, *_: len(out)))


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
backward = Task(Shared(scatter, lambda dx, *_: len(dx)))
