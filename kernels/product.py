"""The two matrix products that every convolution is made of, as tiles of vector registers.

    product:          z[m, p] = bias[m] + sum_k weight[k, m] x[k, p]
    weight_gradient:  dweight[m, k] += sum_p dz[m, p] x[k, p]

m counts output channels, k input channels (or rows of an im2col), p pixels. Rows of `x`, `out` and `dz` are contiguous
along p. The weight of `product` lies input-major, (K, M), so that the M weights of a step lie side by side. The first
serves the forward pass and the input's gradient (with the weight as it is stored, M and K exchanged), the second the
weight's gradient.

What becomes of a tile's sums is done while they are in registers. There are three endings, each with an activation f (ELU, ReLU
or none):

    product               out = f(z) * scale + shift
    product_with_moments  out = f(z), and for each row what its mean and variance follow from, a lane of the vector at a time
    product_to_dz         dz = (a z + b e + c) f'(e): batch norm's and f's backward, where z is the incoming gradient

Cost: M K P multiply-adds each. A tile of 6 rows x 4 vectors loads 4 vectors and 6 scalars for 24 multiply-adds, so
arithmetic, not loads, is the limit; it needs 24 accumulators + 4 + 1 of 32 registers, or 6 x 2 where there are 16.

Every output pixel is the same chain of multiply-adds over k whatever tile it falls into: an image has the same bits
alone and in a batch.
"""

from numba import types
from numba.core import typing

from minisqx.kernels.endings import Affine, Ending, Moments, ToDz
from minisqx.kernels.jit import call_published, publish
from minisqx.kernels.plain import ELU, NO_ACTIVATION, RELU, addresses, intrinsic_of
from minisqx.kernels.simd import INDEX, VECTOR_BYTES, Loop, Vectors, advance, lanes, switch, vector_registers

# Rows x vectors of the largest tile: as many accumulators as registers allow.
ROWS = 6
VECTORS = 4 if vector_registers()[1] == 32 else 2
GRADIENT_ROWS = 4 if vector_registers()[1] == 32 else 3

_ENDINGS = {"product": Affine, "product_with_moments": Moments, "product_to_dz": ToDz}
# All three have one C signature; what an ending doesn't use is 0, or any pointer.
_COMMON = ("out", "out_stride", "weight", "weight_stride", "x", "x_stride", "depth", "columns", "rows", "activation", "bias")
_NAMES = {
    "product": (*_COMMON, "scale", "shift"),
    "product_with_moments": (*_COMMON, "moments", "before"),
    "product_to_dz": (*_COMMON, "scale", "slope", "shift", "e", "e_stride"),
}
_ALL = (*_COMMON, "scale", "shift", "slope", "e", "e_stride", "moments", "before")
_OF_A_TILE = ("height", "wide", *(name for name in _ALL if name not in ("columns", "rows")))


def _product_tiles(ending: type[Ending]):
    """The tile of any height up to ROWS, VECTORS wide or one: a pixel is left over at the end of a row."""

    def meaning(*arguments):
        given = dict(zip(_OF_A_TILE, arguments))
        columns = (VECTORS if given["wide"] else 1) * VECTOR_BYTES // given["out"].array.itemsize
        z = given["bias"].column(given["height"]).repeat(columns, axis=1)
        weight = given["weight"].block(given["depth"], given["height"], given["weight_stride"])
        for weights, pixels in zip(weight, given["x"].block(given["depth"], columns, given["x_stride"])):
            z += weights[:, None] * pixels
        ending.meaning(z, given)

    @intrinsic_of(meaning)
    def tile(
        typing_context, height, wide, out, out_stride, weight, weight_stride, x, x_stride, depth, activation,
        bias, scale, shift, slope, e, e_stride, moments, before,
    ):  # fmt: skip
        index = types.int64
        signature = types.void(
            index, index, out, index, weight, index, x, index, index, index, bias, scale, shift, slope, e, index, moments, index
        )

        def generate(context, builder, signature, arguments):
            v = Vectors(builder, signature.args[2].dtype)
            given = dict(zip(_OF_A_TILE, arguments))
            finish = ending(v, given)

            def emit(rows: int, vectors: int) -> None:
                if vectors > 1:
                    finish.ahead(rows, vectors)
                initial = []
                for m in range(rows):
                    initial += [v.broadcast(v.load_scalar(given["bias"], INDEX(m)))] * vectors
                loop = Loop(builder, "depth", initial)
                x_row = builder.mul(loop.index, given["x_stride"])
                weight_row = builder.mul(loop.index, given["weight_stride"])
                columns = [v.load(given["x"], builder.add(x_row, INDEX(n * v.lanes))) for n in range(vectors)]
                if vectors > 1:
                    for n in range(vectors):
                        v.prefetch(given["x"], builder.add(x_row, INDEX((vectors + n) * v.lanes)))
                sums = []
                for m in range(rows):
                    w = v.broadcast(v.load_scalar(given["weight"], builder.add(weight_row, INDEX(m))))
                    sums += [v.multiply_add(w, columns[n], loop.values[m * vectors + n]) for n in range(vectors)]
                loop.close(sums, 1, given["depth"])

                def end(kind: int) -> None:
                    for m in range(rows):
                        finish.row(m, sums[m * vectors : (m + 1) * vectors], kind)

                switch(builder, given["activation"], {kind: lambda kind=kind: end(kind) for kind in (NO_ACTIVATION, ELU, RELU)})

            shapes = [(rows, vectors) for rows in range(1, ROWS + 1) for vectors in (1, VECTORS)]
            selector = builder.add(builder.mul(given["height"], INDEX(2)), given["wide"])
            switch(
                builder,
                selector,
                {2 * rows + (vectors != 1): lambda rows=rows, vectors=vectors: emit(rows, vectors) for rows, vectors in shapes},
            )
            return context.get_dummy_value()

        return signature, generate

    return tile


def _gradient(height, width, dweight, dweight_stride, dz, dz_stride, x, x_stride, columns):
    products = dz.block(height, columns, dz_stride) @ x.block(width, columns, x_stride).T
    dweight.block(height, width, dweight_stride)[...] += products


@intrinsic_of(_gradient)
def _gradient_tile(typing_context, height, width, dweight, dweight_stride, dz, dz_stride, x, x_stride, columns):
    """The tile of any shape up to GRADIENT_ROWS x GRADIENT_ROWS."""
    index = types.int64
    signature = types.void(index, index, dweight, index, dz, index, x, index, index)

    def generate(context, builder, signature, arguments):
        v = Vectors(builder, signature.args[2].dtype)
        height, width, dweight, dweight_stride, dz, dz_stride, x, x_stride, columns = arguments

        def emit(rows: int, depth: int) -> None:
            loop = Loop(builder, "columns", [v.constant(0.0)] * (rows * depth))
            left, right = (
                [v.load(base, builder.add(loop.index, builder.mul(INDEX(i), stride))) for i in range(count)]
                for base, stride, count in ((dz, dz_stride, rows), (x, x_stride, depth))
            )
            sums = [v.multiply_add(left[m], right[k], loop.values[m * depth + k]) for m in range(rows) for k in range(depth)]
            loop.close(sums, v.lanes, columns)
            # Column by column, so that the sums of a row end up side by side.
            found = v.sums([sums[m * depth + k] for k in range(depth) for m in range(rows)])
            for m in range(rows):
                row = [found[k * rows + m] for k in range(depth)]
                for vector in dict.fromkeys(vector for vector, _ in row):
                    places = [k for k in range(depth) if row[k][0] is vector]
                    at = builder.add(builder.mul(INDEX(m), dweight_stride), INDEX(places[0]))
                    v.add_lanes(vector, [row[k][1] for k in places], dweight, at)

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
    """The C function `name`: covers rows x columns with tiles of nearly equal height."""

    def walk(
        out, out_stride, weight, weight_stride, x, x_stride, depth, columns, rows, activation,
        bias, scale, shift, slope, e, e_stride, moments, before, lane_count,
    ):  # fmt: skip
        tiles = (rows + ROWS - 1) // ROWS
        p = 0
        while p < columns:
            wide = 1 if columns - p >= VECTORS * lane_count else 0
            m = 0
            for t in range(tiles):
                height = (rows - m + tiles - t - 1) // (tiles - t)
                tile(
                    height, wide, advance(out, m * out_stride + p), out_stride, advance(weight, m), weight_stride,
                    advance(x, p), x_stride, depth, activation, advance(bias, m), advance(scale, m), advance(shift, m),
                    advance(slope, m), advance(e, m * e_stride + p), e_stride, advance(moments, 3 * m * lane_count),
                    before + p // lane_count,
                )  # fmt: skip
                m += height
            p += VECTORS * lane_count if wide else lane_count

    walk.__name__ = walk.__qualname__ = name
    return walk


_WALKS = {name: _walk(name, _product_tiles(ending)) for name, ending in _ENDINGS.items()}


def _weight_gradient(dweight, dweight_stride, dz, dz_stride, rows, x, x_stride, depth, columns):
    row_tiles = (rows + GRADIENT_ROWS - 1) // GRADIENT_ROWS
    depth_tiles = (depth + GRADIENT_ROWS - 1) // GRADIENT_ROWS
    m = 0
    for i in range(row_tiles):
        height = (rows - m + row_tiles - i - 1) // (row_tiles - i)
        k = 0
        for j in range(depth_tiles):
            width = (depth - k + depth_tiles - j - 1) // (depth_tiles - j)
            _gradient_tile(
                height, width, advance(dweight, m * dweight_stride + k), dweight_stride, advance(dz, m * dz_stride), dz_stride,
                advance(x, k * x_stride), x_stride, columns,
            )  # fmt: skip
            k += width
        m += height


def _published_name(operation: str, element: types.Float) -> str:
    return f"minisqx_{operation}_{element.name}"


def prepare(dtype, training: bool = True) -> None:
    """Compiles the products for a dtype, or loads them; to be called once before a kernel that uses them is compiled or run.

    training: whether those that only training needs, too.
    """
    element = types.float32 if dtype == "float32" else types.float64
    pointer, index = types.CPointer(element), types.int64
    signature = types.void(
        pointer, index, pointer, index, pointer, index, index, index, index, index, *[pointer] * 5, index, pointer, index, index
    )
    for name in _ENDINGS if training else ("product",):
        publish(_published_name(name, element), signature, _WALKS[name])
    if training:
        signature = types.void(pointer, index, pointer, index, index, pointer, index, index, index)
        publish(_published_name("weight_gradient", element), signature, _weight_gradient)


def _call_product(name: str, context, builder, array, given_kinds, given_values) -> None:
    """Emits the call of a product's C function with these Numba types and LLVM values, in the order of its `_NAMES`."""
    given, index, none = dict(zip(_NAMES[name], zip(given_kinds, given_values))), types.int64, INDEX(0)
    kinds, values = [], []
    for argument in _ALL:
        if argument in given:
            kind, value = given[argument]
        elif argument in ("e_stride", "before"):
            kind, value = index, none
        else:
            kind, value = given["out"]
        kinds.append(kind)
        values.append(value)
    signature = typing.signature(types.void, *kinds, index)
    call_published(context, builder, _published_name(name, array.dtype), signature, [*values, INDEX(lanes(array.dtype))])


def _called(name: str):
    """The call of a product's walk without the JIT."""

    def call(*arguments):
        given = dict(zip(_NAMES[name], arguments))
        values = [given.get(argument, 0 if argument in ("e_stride", "before") else given["out"]) for argument in _ALL]
        _WALKS[name](*addresses(values), VECTOR_BYTES // given["out"].itemsize)

    return call


@intrinsic_of(_called("product"))
def product(
    typing_context, out, out_stride, weight, weight_stride, x, x_stride, depth, columns, rows, activation, bias, scale, shift
):
    """out[m, p] = f(z) * scale[m] + shift[m] for `rows` rows and `columns` pixels, a multiple of a vector; see the file's
    head. activation: the kind of f.

    Arrays are flat and begin at their element [0, 0]; `columns` and `depth` are at least 1.
    """
    index = types.int64

    def generate(context, builder, signature, values):
        _call_product("product", context, builder, out, signature.args, values)
        return context.get_dummy_value()

    return types.void(out, index, weight, index, x, index, index, index, index, index, bias, scale, shift), generate


@intrinsic_of(_called("product_with_moments"))
def product_with_moments(
    typing_context, out, out_stride, weight, weight_stride, x, x_stride, depth, columns, rows, activation, bias, moments, before
):
    """out[m, p] = f(z), as `product`; moments: flat (rows, 3, lanes), for each lane its first value, and the sums of the
    differences from that and of their squares, over the `before` vectors of this row that came earlier; brought up to date.
    The sums are 0 before the first.
    """
    index = types.int64

    def generate(context, builder, signature, values):
        _call_product("product_with_moments", context, builder, out, signature.args, values)
        return context.get_dummy_value()

    return types.void(out, index, weight, index, x, index, index, index, index, index, bias, moments, index), generate


@intrinsic_of(_called("product_to_dz"))
def product_to_dz(
    typing_context, out, out_stride, weight, weight_stride, x, x_stride, depth, columns, rows, activation, bias, scale, slope,
    shift, e, e_stride,
):  # fmt: skip
    """out[m, p] = (scale z + slope e + shift) f'(e), as `product`; out may be e itself. bias: zeros."""
    index = types.int64

    def generate(context, builder, signature, values):
        _call_product("product_to_dz", context, builder, out, signature.args, values)
        return context.get_dummy_value()

    arguments = (out, index, weight, index, x, index, index, index, index, index, bias, scale, slope, shift, e, index)
    return types.void(*arguments), generate


@intrinsic_of(lambda *arguments: _weight_gradient(*addresses(arguments)))
def weight_gradient(typing_context, dweight, dweight_stride, dz, dz_stride, rows, x, x_stride, depth, columns):
    """dweight[m, k] += sum_p dz[m, p] x[k, p] for `rows` x `depth` elements and `columns` pixels, a multiple of a vector.

    Arrays are flat and begin at their element [0, 0]. Columns beyond the last pixel must be zero in `dz` and finite in `x`.
    """
    index = types.int64

    def generate(context, builder, signature, values):
        call_published(context, builder, _published_name("weight_gradient", signature.args[0].dtype), signature, values)
        return context.get_dummy_value()

    return types.void(dweight, index, dz, index, index, x, index, index, index), generate
