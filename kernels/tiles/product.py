"""The two matrix products of every convolution, as tiles of vector registers.

    product:          z[m, p] = bias[m] + sum_k weight[k, m] x[k, p]
    weight_gradient:  dweight[m, k] += sum_p dz[m, p] x[k, p]

m counts output channels, k input channels (or rows of an im2col), p pixels. Rows of `x`, `out` and `dz` are contiguous
along p. The weight of `product` lies input-major, (K, M), so that the M weights of a step lie side by side. The first
serves the forward pass and the input's gradient (with the weight as it is stored, M and K exchanged), the second the
weight's gradient.

An epilogue is applied to the sums of a tile while they are in registers. There are four (`epilogues.py`), with an activation f:

    product               out = f(z) * scale + shift
    product_with_moments  out = f(z), and the moments of each row, separately for each lane of a vector
    product_to_dz         dz = (a z + b e + c) f'(e): batch norm's and f's backward, where z is the incoming gradient
    product_to_ds         ds = z f'(f(e scale + shift)), and its sums: f's backward where f follows the batch norm

Cost: M K P multiply-adds each. A tile of 6 rows x 4 vectors loads 4 vectors and 6 scalars for 24 multiply-adds, so
arithmetic, not loads, is the limit; it needs 24 accumulators + 4 + 1 of 32 registers, or 6 x 2 where there are 16.

Every output pixel is the same chain of multiply-adds over k in any tile, so an image has the same bits alone and in a batch.
"""

from typing import NamedTuple

from numba import types
from numba.core import typing

from minisqx.kernels.compiler.published import call_published, publish
from minisqx.kernels.structures import Extent, Matrix
from minisqx.kernels.tiles.epilogues import (
    AffineEpilogue,
    Epilogue,
    MomentsEpilogue,
    NormActivationBackwardEpilogue,
    NormBackwardEpilogue,
)
from minisqx.kernels.tiles.plain import addresses, block_of, intrinsic_of
from minisqx.kernels.tiles.simd import (
    INDEX,
    VECTOR_BYTES,
    Loop,
    Vectors,
    as_c_argument,
    for_each_activation,
    lanes,
    moved,
    structure,
    switch,
    unpacked,
    vector_registers,
)

# Rows x vectors of the largest tile: as many accumulators as registers allow.
ROWS = 6
VECTORS = 4 if vector_registers()[1] == 32 else 2
GRADIENT_ROWS = 4 if vector_registers()[1] == 32 else 3

_EPILOGUES = {
    "product": AffineEpilogue,
    "product_with_moments": MomentsEpilogue,
    "product_to_dz": NormBackwardEpilogue,
    "product_to_ds": NormActivationBackwardEpilogue,
}


class Tile(NamedTuple):
    """A tile's position in the output and its size: `height` rows, and VECTORS vectors of columns if `wide`, else one."""

    row: int
    column: int
    height: int
    wide: int


def _product_tile(epilogue: type[Epilogue]):
    """A tile of 1 to ROWS rows, and VECTORS vectors or, at the end of a row, one."""

    def meaning(tile, out, weight, x, depth, given, activation):
        columns = (VECTORS if tile.wide else 1) * VECTOR_BYTES // out.data.array.itemsize
        z = (given.bias + tile.row).column(tile.height).repeat(columns, axis=1)
        rows_of_weight = block_of(weight, 0, tile.row, depth, tile.height)
        for weights, pixels in zip(rows_of_weight, block_of(x, 0, tile.column, depth, columns)):
            z += weights[:, None] * pixels
        epilogue.meaning(z, block_of(out, tile.row, tile.column, *z.shape), given, tile, activation)

    @intrinsic_of(meaning)
    def product_tile(typing_context, tile, out, weight, x, depth, given, activation):
        signature = types.void(tile, out, weight, x, types.int64, given, types.int64)

        def generate(context, builder, signature, arguments):
            v, zero = Vectors(builder, signature.args[1].types[0].dtype), INDEX(0)
            tile, out, weight, x, depth, given, activation = (
                unpacked(context, builder, *each) for each in zip(signature.args, arguments)
            )
            # From the tile's first element on.
            out, weight, x = (
                moved(builder, matrix, row, column)
                for matrix, row, column in ((out, tile.row, tile.column), (weight, zero, tile.row), (x, zero, tile.column))
            )
            finish = epilogue(v, out, given, tile)

            def emit(rows: int, vectors: int) -> None:
                if vectors > 1:
                    finish.ahead(rows, vectors)
                initial = []
                for m in range(rows):
                    initial += [finish.row_constant("bias", m)] * vectors
                loop = Loop(builder, "depth", initial)
                x_row, weight_row = builder.mul(loop.index, x.stride), builder.mul(loop.index, weight.stride)
                columns = [v.load(x.data, builder.add(x_row, INDEX(n * v.lanes))) for n in range(vectors)]
                if vectors > 1:
                    for n in range(vectors):
                        v.prefetch(x.data, builder.add(x_row, INDEX((vectors + n) * v.lanes)))
                sums = []
                for m in range(rows):
                    w = v.broadcast(v.load_scalar(weight.data, builder.add(weight_row, INDEX(m))))
                    sums += [v.multiply_add(w, columns[n], loop.values[m * vectors + n]) for n in range(vectors)]
                loop.close(sums, 1, depth)

                def end(activation: int) -> None:
                    for m in range(rows):
                        finish.row(m, sums[m * vectors : (m + 1) * vectors], activation)

                for_each_activation(builder, activation, end)

            shapes = [(rows, vectors) for rows in range(1, ROWS + 1) for vectors in (1, VECTORS)]
            selector = builder.add(builder.mul(tile.height, INDEX(2)), tile.wide)
            switch(
                builder,
                selector,
                {2 * rows + (vectors != 1): lambda rows=rows, vectors=vectors: emit(rows, vectors) for rows, vectors in shapes},
            )
            return context.get_dummy_value()

        return signature, generate

    return product_tile


def _gradient(height, width, dweight, dz, x, columns):
    products = block_of(dz, 0, 0, height, columns) @ block_of(x, 0, 0, width, columns).T
    block_of(dweight, 0, 0, height, width)[...] += products


@intrinsic_of(_gradient)
def _gradient_tile(typing_context, height, width, dweight, dz, x, columns):
    """A tile of any shape up to GRADIENT_ROWS x GRADIENT_ROWS."""
    index = types.int64
    signature = types.void(index, index, dweight, dz, x, index)

    def generate(context, builder, signature, arguments):
        v, zero = Vectors(builder, signature.args[2].types[0].dtype), INDEX(0)
        height, width, *matrices, columns = (unpacked(context, builder, *each) for each in zip(signature.args, arguments))
        dweight, dz, x = (moved(builder, matrix, zero, zero) for matrix in matrices)

        def emit(rows: int, depth: int) -> None:
            loop = Loop(builder, "columns", [v.constant(0.0)] * (rows * depth))
            left, right = (
                [v.load(matrix.data, builder.add(loop.index, builder.mul(INDEX(i), matrix.stride))) for i in range(count)]
                for matrix, count in ((dz, rows), (x, depth))
            )
            sums = [v.multiply_add(left[m], right[k], loop.values[m * depth + k]) for m in range(rows) for k in range(depth)]
            loop.close(sums, v.lanes, columns)
            # In column order, so that the sums of a row end up in adjacent lanes.
            found = v.sums([sums[m * depth + k] for k in range(depth) for m in range(rows)])
            for m in range(rows):
                row = [found[k * rows + m] for k in range(depth)]
                for vector in dict.fromkeys(vector for vector, _ in row):
                    places = [k for k in range(depth) if row[k][0] is vector]
                    at = builder.add(builder.mul(INDEX(m), dweight.stride), INDEX(places[0]))
                    v.add_lanes(vector, [row[k][1] for k in places], dweight.data, at)

        largest = GRADIENT_ROWS + 1
        shapes = [(rows, depth) for rows in range(1, largest) for depth in range(1, largest)]
        selector = builder.add(builder.mul(height, INDEX(largest)), width)
        switch(
            builder,
            selector,
            {rows * largest + depth: lambda rows=rows, depth=depth: emit(rows, depth) for rows, depth in shapes},
        )
        return context.get_dummy_value()

    return signature, generate


def _walk(name: str, tile):
    """The C function `name`, which covers an `Extent` with tiles of nearly equal height."""

    def walk(out, weight, x, extent, given, activation, lane_count):
        tiles = (extent.stop - extent.start + ROWS - 1) // ROWS
        p, end = extent.first, extent.first + extent.columns
        while p < end:
            wide = 1 if end - p >= VECTORS * lane_count else 0
            m = extent.start
            for t in range(tiles):
                height = (extent.stop - m + tiles - t - 1) // (tiles - t)
                tile(Tile(m, p, height, wide), out, weight, x, extent.depth, given, activation)
                m += height
            p += VECTORS * lane_count if wide else lane_count

    walk.__name__ = walk.__qualname__ = name
    return walk


_WALKS = {name: _walk(name, _product_tile(epilogue)) for name, epilogue in _EPILOGUES.items()}


def _weight_gradient(dweight, dz, x, extent):
    """A C function that covers rows x depth with tiles of nearly equal sides."""
    row_tiles = (extent.stop - extent.start + GRADIENT_ROWS - 1) // GRADIENT_ROWS
    depth_tiles = (extent.depth + GRADIENT_ROWS - 1) // GRADIENT_ROWS
    m = extent.start
    for i in range(row_tiles):
        height = (extent.stop - m + row_tiles - i - 1) // (row_tiles - i)
        k = 0
        for j in range(depth_tiles):
            width = (extent.depth - k + depth_tiles - j - 1) // (depth_tiles - j)
            _gradient_tile(
                height,
                width,
                Matrix(dweight.data, dweight.at + m * dweight.stride + k, dweight.stride),
                Matrix(dz.data, dz.at + m * dz.stride + extent.first, dz.stride),
                Matrix(x.data, x.at + k * x.stride + extent.first, x.stride),
                extent.columns,
            )
            k += width
        m += height


def _published_name(operation: str, element: types.Float) -> str:
    return f"minisqx_{operation}_{element.name}"


def prepare(dtype, training: bool = True) -> None:
    """Compiles the products for a dtype, or loads them. Call it before a kernel that uses them is compiled or run.

    training: also those that only training needs.
    """
    element = types.float32 if dtype == "float32" else types.float64
    pointer, index = types.CPointer(element), types.int64
    matrix, extent = structure(Matrix, pointer, index, index), structure(Extent, *[index] * len(Extent._fields))
    member = {"e": matrix}
    for name, epilogue in _EPILOGUES.items() if training else [("product", AffineEpilogue)]:
        given = structure(epilogue.STRUCTURE, *(member.get(each, pointer) for each in epilogue.STRUCTURE._fields))
        signature = types.void(matrix, matrix, matrix, extent, given, index, index)
        publish(_published_name(name, element), signature, _WALKS[name])
    if training:
        signature = types.void(matrix, matrix, matrix, extent)
        publish(_published_name("weight_gradient", element), signature, _weight_gradient)


def emit_call(name: str, context, builder, numba_types, values, more=()) -> None:
    """Emits the call of a C function with these Numba types and LLVM values, and the integers `more` after them."""
    arguments = [as_c_argument(context, builder, *each) for each in zip(numba_types, values, strict=True)]
    arguments += [(types.int64, INDEX(number)) for number in more]
    signature = typing.signature(types.void, *(numba_type for numba_type, _ in arguments))
    call_published(context, builder, name, signature, [value for _, value in arguments])


def _product(name: str):
    """The product with the epilogue of this name."""

    def called(out, *others):
        _WALKS[name](*addresses((out, *others)), VECTOR_BYTES // out.data.itemsize)

    @intrinsic_of(called)
    def product(typing_context, out, weight, x, extent, epilogue, activation):
        def generate(context, builder, signature, values):
            element = signature.args[0].types[0].dtype
            emit_call(_published_name(name, element), context, builder, signature.args, values, more=[lanes(element)])
            return context.get_dummy_value()

        return types.void(out, weight, x, extent, epilogue, types.int64), generate

    return product


# product(out, weight, x, extent, epilogue, activation) computes an `Extent` of a product: out `Matrix` (M, columns), weight (K,
# M), x (K, columns). epilogue: a structure of `structures.py`, of the type below. activation: the number of f. The extent's depth
# and columns are at least 1.
product = _product("product")  # epilogue: Affine
product_with_moments = _product("product_with_moments")  # Moments
product_to_dz = _product("product_to_dz")  # NormBackward
product_to_ds = _product("product_to_ds")  # NormActivationBackward


@intrinsic_of(lambda *arguments: _weight_gradient(*addresses(arguments)))
def weight_gradient(typing_context, dweight, dz, x, extent):
    """dweight[m, k] += sum_p dz[m, p] x[k, p], each a `Matrix`, for the m, k and p of an `Extent`.

    Columns beyond the last pixel must be zero in `dz` and finite in `x`.
    """

    def generate(context, builder, signature, values):
        emit_call(_published_name("weight_gradient", signature.args[0].types[0].dtype), context, builder, signature.args, values)
        return context.get_dummy_value()

    return types.void(dweight, dz, x, extent), generate
