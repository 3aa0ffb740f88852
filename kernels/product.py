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
from numba.extending import intrinsic

from minisqx.kernels.jit import call_published, publish
from minisqx.kernels.simd import ELU, INDEX, NO_ACTIVATION, RELU, Loop, Vectors, advance, lanes, switch, vector_registers

# Rows x vectors of the largest tile: as many accumulators as registers allow.
ROWS = 6
VECTORS = 4 if vector_registers()[1] == 32 else 2
GRADIENT_ROWS = 4 if vector_registers()[1] == 32 else 3


class _Ending:
    """What a product's tile does with its sums: emits the code for one row of `vectors` sums at a time."""

    def __init__(self, v: Vectors, arguments: dict):
        self.v, self.builder, self.arguments = v, v.builder, arguments

    def row_constant(self, name: str, m: int):
        return self.v.broadcast(self.v.load_scalar(self.arguments[name], INDEX(m)))

    def place(self, stride: str, m: int, n: int):
        return self.builder.add(self.builder.mul(INDEX(m), self.arguments[stride]), INDEX(n * self.v.lanes))

    def ahead(self, rows: int, vectors: int) -> None:
        """Asks for what the next tile along a row will read, besides x."""


class _Affine(_Ending):
    """out = f(z) * scale + shift."""

    def row(self, m: int, sums: list, kind: int) -> None:
        scale, shift = self.row_constant("scale", m), self.row_constant("shift", m)
        for n, z in enumerate(sums):
            y = self.v.multiply_add(self.v.activate(z, kind), scale, shift)
            self.v.store(y, self.arguments["out"], self.place("out_stride", m, n))


class _Moments(_Ending):
    """out = f(z); moments[m] = for each lane its first value K, and the sums of e - K and of (e - K)^2.

    Since K is one of the values, what cancels in their variance is at most a part in their number, however large their mean is.
    """

    def row(self, m: int, sums: list, kind: int) -> None:
        v, builder, moments = self.v, self.builder, self.arguments["moments"]
        values = [self.v.activate(z, kind) for z in sums]
        places = [INDEX((3 * m + part) * v.lanes) for part in range(3)]
        first, plain, squares = (v.load(moments, place) for place in places)
        is_first = builder.icmp_signed("==", self.arguments["before"], INDEX(0))
        first = builder.select(is_first, values[0], first)
        for n, e in enumerate(values):
            v.store(e, self.arguments["out"], self.place("out_stride", m, n))
            difference = builder.fsub(e, first)
            plain = builder.fadd(plain, difference)
            squares = v.multiply_add(difference, difference, squares)
        for part, place in zip((first, plain, squares), places):
            v.store(part, moments, place)


class _ToDz(_Ending):
    """out = (a z + b e + c) f'(e), with a, b, c in scale, slope and shift; e is loaded before out is stored."""

    def ahead(self, rows: int, vectors: int) -> None:
        for m in range(rows):
            for n in range(vectors):
                self.v.prefetch(self.arguments["e"], self.place("e_stride", m, vectors + n))

    def row(self, m: int, sums: list, kind: int) -> None:
        a, b, c = (self.row_constant(name, m) for name in ("scale", "slope", "shift"))
        for n, g in enumerate(sums):
            e = self.v.load(self.arguments["e"], self.place("e_stride", m, n))
            dz = self.v.batch_norm_activation_backward(g, e, a, b, c, kind)
            self.v.store(dz, self.arguments["out"], self.place("out_stride", m, n))


_ENDINGS = {"product": _Affine, "product_with_moments": _Moments, "product_to_dz": _ToDz}
# All three have one C signature; what an ending doesn't use is 0, or any pointer.
_COMMON = ("out", "out_stride", "weight", "weight_stride", "x", "x_stride", "depth", "columns", "rows", "activation", "bias")
_ALL = (*_COMMON, "scale", "shift", "slope", "e", "e_stride", "moments", "before")


def _product_tiles(ending: type[_Ending]):
    """The tile of any height up to ROWS, VECTORS wide or one: a pixel is left over at the end of a row."""

    @intrinsic
    def tile(
        typing_context, height, wide, out, out_stride, weight, weight_stride, x, x_stride, depth, activation,
        bias, scale, shift, slope, e, e_stride, moments, before,
    ):  # fmt: skip
        index = types.int64
        signature = types.void(
            index, index, out, index, weight, index, x, index, index, index, bias, scale, shift, slope, e, index, moments, index
        )
        names = ("height", "wide", *(name for name in _ALL if name not in ("columns", "rows")))

        def generate(context, builder, signature, arguments):
            v = Vectors(builder, signature.args[2].dtype)
            given = dict(zip(names, arguments))
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


@intrinsic
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
            for m in range(rows):
                for k in range(depth):
                    at = builder.add(builder.mul(INDEX(m), dweight_stride), INDEX(k))
                    total = builder.fadd(v.load_scalar(dweight, at), v.sum(sums[m * depth + k]))
                    builder.store(total, builder.gep(dweight, [at]))

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
        publish(_published_name(name, element), signature, _WALKS[name], fastmath=False)
    if training:
        signature = types.void(pointer, index, pointer, index, index, pointer, index, index, index)
        publish(_published_name("weight_gradient", element), signature, _weight_gradient, fastmath=False)


def _call_product(name: str, context, builder, array, given: dict) -> None:
    """Calls a product's C function; `given`: Numba types and LLVM values by name."""
    index, none = types.int64, INDEX(0)
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


@intrinsic
def product(
    typing_context, out, out_stride, weight, weight_stride, x, x_stride, depth, columns, rows, activation, bias, scale, shift
):
    """out[m, p] = f(z) * scale[m] + shift[m] for `rows` rows and `columns` pixels, a multiple of a vector; see the file's
    head. activation: the kind of f.

    Arrays are flat and begin at their element [0, 0]; `columns` and `depth` are at least 1.
    """
    index = types.int64
    names = (*_COMMON, "scale", "shift")

    def generate(context, builder, signature, values):
        _call_product("product", context, builder, out, dict(zip(names, zip(signature.args, values))))
        return context.get_dummy_value()

    return types.void(out, index, weight, index, x, index, index, index, index, index, bias, scale, shift), generate


@intrinsic
def product_with_moments(
    typing_context, out, out_stride, weight, weight_stride, x, x_stride, depth, columns, rows, activation, bias, moments, before
):
    """out[m, p] = f(z), as `product`; moments: flat (rows, 3, lanes), for each lane its first value, and the sums of the
    differences from that and of their squares, over the `before` vectors of this row that came earlier; brought up to date.
    The sums are 0 before the first.
    """
    index = types.int64
    names = (*_COMMON, "moments", "before")

    def generate(context, builder, signature, values):
        _call_product("product_with_moments", context, builder, out, dict(zip(names, zip(signature.args, values))))
        return context.get_dummy_value()

    return types.void(out, index, weight, index, x, index, index, index, index, index, bias, moments, index), generate


@intrinsic
def product_to_dz(
    typing_context, out, out_stride, weight, weight_stride, x, x_stride, depth, columns, rows, activation, bias, scale, slope,
    shift, e, e_stride,
):  # fmt: skip
    """out[m, p] = (scale z + slope e + shift) f'(e), as `product`; out may be e itself. bias: zeros."""
    index = types.int64
    names = (*_COMMON, "scale", "slope", "shift", "e", "e_stride")

    def generate(context, builder, signature, values):
        _call_product("product_to_dz", context, builder, out, dict(zip(names, zip(signature.args, values))))
        return context.get_dummy_value()

    arguments = (out, index, weight, index, x, index, index, index, index, index, bias, scale, slope, shift, e, index)
    return types.void(*arguments), generate


@intrinsic
def weight_gradient(typing_context, dweight, dweight_stride, dz, dz_stride, rows, x, x_stride, depth, columns):
    """dweight[m, k] += sum_p dz[m, p] x[k, p] for `rows` x `depth` elements and `columns` pixels, a multiple of a vector.

    Arrays are flat and begin at their element [0, 0]. Columns beyond the last pixel must be zero in `dz` and finite in `x`.
    """
    index = types.int64

    def generate(context, builder, signature, values):
        call_published(context, builder, _published_name("weight_gradient", signature.args[0].dtype), signature, values)
        return context.get_dummy_value()

    return types.void(dweight, index, dz, index, index, x, index, index, index), generate
