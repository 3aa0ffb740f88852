"""The two matrix products that every convolution is made of, as tiles of vector registers.

    product:          out[m, p] = activation(bias[m] + sum_k weight[k, m] x[k, p]) * scale[m] + shift[m]
    weight_gradient:  dweight[m, k] += sum_p dz[m, p] x[k, p]

m counts output channels, k input channels (or rows of an im2col), p pixels. Rows of `x`, `out` and `dz` are contiguous
along p. The weight of `product` lies input-major, (K, M), so that the M weights of a step lie side by side. The first
serves the forward pass and the input's gradient (with the weight as it is stored, M and K exchanged), the second the
weight's gradient.

Cost: M K P multiply-adds each. A tile of 6 rows x 4 vectors loads 4 vectors and 6 scalars for 24 multiply-adds, so
arithmetic, not loads, is the limit; it needs 24 accumulators + 4 + 1 of 32 registers, or 6 x 2 where there are 16.

Every output pixel is the same chain of multiply-adds over k whatever tile it falls into: an image has the same bits
alone and in a batch.
"""

from numba import types
from numba.core import typing
from numba.extending import intrinsic

from minisqx.kernels.jit import call_published, publish
from minisqx.kernels.simd import INDEX, Loop, Vectors, advance, lanes, vector_registers

# Rows x vectors of the largest tile: as many accumulators as registers allow.
ROWS = 6
VECTORS = 4 if vector_registers()[1] == 32 else 2
GRADIENT_ROWS = 4 if vector_registers()[1] == 32 else 3


def _product_tile(rows: int, vectors: int):
    @intrinsic
    def tile(typing_context, out, out_stride, weight, weight_stride, x, x_stride, depth, bias, scale, shift, activation):
        index = types.int64
        signature = types.void(out, index, weight, index, x, index, index, bias, scale, shift, index)

        def generate(context, builder, signature, arguments):
            v = Vectors(builder, signature.args[0].dtype)
            out, out_stride, weight, weight_stride, x, x_stride, depth, bias, scale, shift, activation = arguments
            initial = []
            for m in range(rows):
                initial += [v.broadcast(v.load_scalar(bias, INDEX(m)))] * vectors
            loop = Loop(builder, "depth", initial)
            x_row = builder.mul(loop.index, x_stride)
            weight_row = builder.mul(loop.index, weight_stride)
            columns = [v.load(x, builder.add(x_row, INDEX(n * v.lanes))) for n in range(vectors)]
            sums = []
            for m in range(rows):
                w = v.broadcast(v.load_scalar(weight, builder.add(weight_row, INDEX(m))))
                sums += [v.multiply_add(w, columns[n], loop.values[m * vectors + n]) for n in range(vectors)]
            loop.close(sums, 1, depth)

            def store(activate) -> None:
                for m in range(rows):
                    a, b = (v.broadcast(v.load_scalar(values, INDEX(m))) for values in (scale, shift))
                    for n in range(vectors):
                        at = builder.add(builder.mul(INDEX(m), out_stride), INDEX(n * v.lanes))
                        v.store(v.multiply_add(activate(sums[m * vectors + n]), a, b), out, at)

            with builder.if_else(builder.icmp_signed("!=", activation, INDEX(0))) as (active, linear):
                with active:
                    store(v.elu)
                with linear:
                    store(lambda z: z)
            return context.get_dummy_value()

        return signature, generate

    return tile


def _gradient_tile(rows: int, depth: int):
    @intrinsic
    def tile(typing_context, dweight, dweight_stride, dz, dz_stride, x, x_stride, columns):
        index = types.int64
        signature = types.void(dweight, index, dz, index, x, index, index)

        def generate(context, builder, signature, arguments):
            v = Vectors(builder, signature.args[0].dtype)
            dweight, dweight_stride, dz, dz_stride, x, x_stride, columns = arguments
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
            return context.get_dummy_value()

        return signature, generate

    return tile


# One tile for each number of rows, so that any channel count is covered by tiles of nearly equal height; and one vector
# wide, for what is left.
_w1, _w2, _w3, _w4, _w5, _w6 = (_product_tile(rows, VECTORS) for rows in range(1, ROWS + 1))
_n1, _n2, _n3, _n4, _n5, _n6 = (_product_tile(rows, 1) for rows in range(1, ROWS + 1))
_g11, _g12, _g13, _g14 = (_gradient_tile(1, depth) for depth in range(1, 5))
_g21, _g22, _g23, _g24 = (_gradient_tile(2, depth) for depth in range(1, 5))
_g31, _g32, _g33, _g34 = (_gradient_tile(3, depth) for depth in range(1, 5))
_g41, _g42, _g43, _g44 = (_gradient_tile(4, depth) for depth in range(1, 5))


def _product(
    out, out_stride, weight, weight_stride, x, x_stride, depth, columns, bias, scale, shift, rows, activation, lane_count
):
    tiles = (rows + ROWS - 1) // ROWS
    p = 0
    while p < columns:
        wide = columns - p >= VECTORS * lane_count
        m = 0
        for t in range(tiles):
            height = (rows - m + tiles - t - 1) // (tiles - t)
            a = (
                advance(out, m * out_stride + p), out_stride, advance(weight, m), weight_stride, advance(x, p), x_stride,
                depth, advance(bias, m), advance(scale, m), advance(shift, m), activation,
            )  # fmt: skip
            if wide:
                if height == 6:
                    _w6(*a)
                elif height == 5:
                    _w5(*a)
                elif height == 4:
                    _w4(*a)
                elif height == 3:
                    _w3(*a)
                elif height == 2:
                    _w2(*a)
                else:
                    _w1(*a)
            elif height == 6:
                _n6(*a)
            elif height == 5:
                _n5(*a)
            elif height == 4:
                _n4(*a)
            elif height == 3:
                _n3(*a)
            elif height == 2:
                _n2(*a)
            else:
                _n1(*a)
            m += height
        p += VECTORS * lane_count if wide else lane_count


def _weight_gradient(dweight, dweight_stride, dz, dz_stride, rows, x, x_stride, depth, columns):
    row_tiles = (rows + GRADIENT_ROWS - 1) // GRADIENT_ROWS
    depth_tiles = (depth + GRADIENT_ROWS - 1) // GRADIENT_ROWS
    m = 0
    for i in range(row_tiles):
        height = (rows - m + row_tiles - i - 1) // (row_tiles - i)
        k = 0
        for j in range(depth_tiles):
            width = (depth - k + depth_tiles - j - 1) // (depth_tiles - j)
            at = m * dweight_stride + k
            a = (
                advance(dweight, at),
                dweight_stride,
                advance(dz, m * dz_stride),
                dz_stride,
                advance(x, k * x_stride),
                x_stride,
                columns,
            )
            shape = height * 4 + width
            if shape == 20:
                _g44(*a)
            elif shape == 19:
                _g43(*a)
            elif shape == 18:
                _g42(*a)
            elif shape == 17:
                _g41(*a)
            elif shape == 16:
                _g34(*a)
            elif shape == 15:
                _g33(*a)
            elif shape == 14:
                _g32(*a)
            elif shape == 13:
                _g31(*a)
            elif shape == 12:
                _g24(*a)
            elif shape == 11:
                _g23(*a)
            elif shape == 10:
                _g22(*a)
            elif shape == 9:
                _g21(*a)
            elif shape == 8:
                _g14(*a)
            elif shape == 7:
                _g13(*a)
            elif shape == 6:
                _g12(*a)
            else:
                _g11(*a)
            k += width
        m += height


def _published_name(operation: str, element: types.Float) -> str:
    return f"minisqx_{operation}_{element.name}"


def prepare(dtype) -> None:
    """Compiles the products for a dtype, or loads them; to be called once before a kernel that uses them is compiled or run."""
    element = types.float32 if dtype == "float32" else types.float64
    pointer, index = types.CPointer(element), types.int64
    signature = types.void(
        pointer, index, pointer, index, pointer, index, index, index, pointer, pointer, pointer, index, index, index
    )  # fmt: skip
    publish(_published_name("product", element), signature, _product, fastmath=False)
    signature = types.void(pointer, index, pointer, index, index, pointer, index, index, index)
    publish(_published_name("weight_gradient", element), signature, _weight_gradient, fastmath=False)


@intrinsic
def product(
    typing_context, out, out_stride, weight, weight_stride, x, x_stride, depth, columns, bias, scale, shift, rows, activation
):
    """out[m, p] for `rows` rows and `columns` pixels, a multiple of a vector; see the file's head. activation: 1 for ELU,
    0 for none.

    Arrays are flat and begin at their element [0, 0]; `columns` and `depth` are at least 1.
    """
    index = types.int64
    arguments = (out, index, weight, index, x, index, index, index, bias, scale, shift, index, index)

    def generate(context, builder, signature, values):
        element = signature.args[0].dtype
        signature = typing.signature(types.void, *signature.args, index)
        call_published(context, builder, _published_name("product", element), signature, [*values, INDEX(lanes(element))])
        return context.get_dummy_value()

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
