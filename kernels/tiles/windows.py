"""The product of a convolution without stride and padding, whose input is read where it lies: `product` without im2col.

    out[m, p] = f(bias[m] + sum_k weight[k, m] x[k, p]) * scale[m] + shift[m],   k = (channel, tap)

x[k, p] is the pixel under the tap of output pixel p. Without stride and padding, a row of an output's map reads, at each tap, a
run of a row of the input's map. A tile has up to ROWS rows and VECTORS vectors, each of which lies in one row of a map. The last
vector of a row ends with the row, and the last tile with the last vector, so some outputs are computed twice. Each output is the
same chain of multiply-adds over k as in `product`, and has the same bits.

Cost: that of `product`, and of the outputs that are computed twice: 1/15 at 30 pixels a row and 16 lanes. im2col would write and
read an element for each output pixel and k. Only inference uses it: batch norm's moments must count each output once.
"""

from numba import types

from minisqx.kernels.compiler.published import publish
from minisqx.kernels.structures import Affine, Matrix, Windows
from minisqx.kernels.tiles.epilogues import AffineEpilogue
from minisqx.kernels.tiles.plain import addresses, block_of, intrinsic_of
from minisqx.kernels.tiles.product import ROWS, VECTORS, Tile, emit_call
from minisqx.kernels.tiles.simd import (
    INDEX,
    VECTOR_BYTES,
    Loop,
    Vectors,
    for_each_activation,
    moved,
    structure,
    switch,
    unpacked,
)


class _Places:
    """Where the vectors of a tile begin in a row of the output and of the input. tile.column: the number of its first vector."""

    def __init__(self, builder, lane_count: int, x: Windows, tile: Tile):
        self.out, self.x = [], []
        for n in range(VECTORS):
            number = builder.add(tile.column, INDEX(n))
            row, start = builder.udiv(number, x.vectors), builder.mul(builder.urem(number, x.vectors), INDEX(lane_count))
            last = builder.sub(x.out_width, INDEX(lane_count))
            start = builder.select(builder.icmp_signed("<", start, last), start, last)
            image = builder.udiv(row, x.out_height)
            from_row = builder.add(row, builder.mul(image, builder.sub(x.in_height, x.out_height)))
            self.out.append(builder.add(builder.mul(row, x.out_width), start))
            self.x.append(builder.add(builder.mul(from_row, x.in_width), start))


class _WindowsEpilogue(AffineEpilogue):
    """The epilogue of `product`, for vectors that don't lie side by side."""

    columns: list

    def place(self, matrix: Matrix, m: int, n: int):
        return self.builder.add(self.builder.mul(INDEX(m), matrix.stride), self.columns[n])


def _meaning(tile, out, weight, x, given, activation):
    lane_count = VECTOR_BYTES // out.data.array.itemsize
    for number in range(tile.column, tile.column + VECTORS):
        row, start = number // x.vectors, min(number % x.vectors * lane_count, x.out_width - lane_count)
        from_row = row + row // x.out_height * (x.in_height - x.out_height)
        z = (given.bias + tile.row).column(tile.height).repeat(lane_count, axis=1)
        for c in range(x.channels):
            for t in range(x.taps):
                weights = block_of(weight, c * x.taps + t, tile.row, 1, tile.height)[0]
                pixel = from_row * x.in_width + start + x.index[t * x.index_stride]
                z += weights[:, None] * block_of(Matrix(x.data, x.at, x.stride), c, pixel, 1, lane_count)
        target = block_of(out, tile.row, row * x.out_width + start, *z.shape)
        AffineEpilogue.meaning(z, target, given, tile, activation)


@intrinsic_of(_meaning)
def _windows_tile(typing_context, tile, out, weight, x, given, activation):
    signature = types.void(tile, out, weight, x, given, types.int64)

    def generate(context, builder, signature, arguments):
        v, zero = Vectors(builder, signature.args[1].types[0].dtype), INDEX(0)
        tile, out, weight, x, given, activation = (unpacked(context, builder, *each) for each in zip(signature.args, arguments))
        out, weight = moved(builder, out, tile.row, zero), moved(builder, weight, zero, tile.row)
        start, places = builder.gep(x.data, [x.at]), _Places(builder, v.lanes, x, tile)
        finish = _WindowsEpilogue(v, out, given, tile)
        finish.columns = places.out

        def emit(rows: int) -> None:
            initial = []
            for m in range(rows):
                initial += [finish.row_constant("bias", m)] * VECTORS
            channels = Loop(builder, "channels", initial)
            taps = Loop(builder, "taps", channels.values)
            k = builder.add(builder.mul(channels.index, x.taps), taps.index)
            tap = builder.sext(v.load_scalar(x.index, builder.mul(taps.index, x.index_stride)), INDEX)
            base = builder.gep(start, [builder.add(builder.mul(channels.index, x.stride), tap)])
            columns = [v.load(base, place) for place in places.x]
            sums = []
            for m in range(rows):
                w = v.broadcast(v.load_scalar(weight.data, builder.add(builder.mul(k, weight.stride), INDEX(m))))
                sums += [v.multiply_add(w, columns[n], taps.values[m * VECTORS + n]) for n in range(VECTORS)]
            taps.close(sums, 1, x.taps)
            channels.close(sums, 1, x.channels)

            def end(activation: int) -> None:
                for m in range(rows):
                    finish.row(m, sums[m * VECTORS : (m + 1) * VECTORS], activation)

            for_each_activation(builder, activation, end)

        switch(builder, tile.height, {rows: lambda rows=rows: emit(rows) for rows in range(1, ROWS + 1)})
        return context.get_dummy_value()

    return signature, generate


def _windows(out, weight, x, start, stop, given, activation, count):
    """The C function: covers rows start : stop of `count` vectors with tiles of nearly equal height."""
    tiles = (stop - start + ROWS - 1) // ROWS
    for first in range(0, count, VECTORS):
        m = start
        for t in range(tiles):
            height = (stop - m + tiles - t - 1) // (tiles - t)
            _windows_tile(Tile(m, min(first, count - VECTORS), height, 1), out, weight, x, given, activation)
            m += height


def _name(element: types.Float) -> str:
    return f"minisqx_windows_{element.name}"


def prepare(dtype) -> None:
    """Compiles `product_of_windows` for a dtype, or loads it. Call it before a kernel that uses it is compiled or run."""
    element = types.float32 if dtype == "float32" else types.float64
    pointer, index = types.CPointer(element), types.int64
    matrix, given = structure(Matrix, pointer, index, index), structure(Affine, pointer, pointer, pointer)
    members = {"data": pointer, "index": types.CPointer(types.int32)}
    x = structure(Windows, *(members.get(name, index) for name in Windows._fields))
    publish(_name(element), types.void(matrix, matrix, x, index, index, given, index, index), _windows)


def _called(*arguments):
    _windows(*addresses(arguments))


@intrinsic_of(_called)
def product_of_windows(typing_context, out, weight, x, start, stop, epilogue, activation, count):
    """Computes rows start : stop of out, a `Matrix` (M, pixels), from weight, a `Matrix` (K, M), and x, `Windows`, with `count`
    vectors in all its rows, at least VECTORS. epilogue: `Affine`. activation: the number of f.
    """
    index = types.int64

    def generate(context, builder, signature, values):
        emit_call(_name(signature.args[0].types[0].dtype), context, builder, signature.args, values)
        return context.get_dummy_value()

    return types.void(out, weight, x, index, index, epilogue, index, index), generate
