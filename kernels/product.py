"""The two matrix products that every convolution is made of, as tiles of vector registers.

    product:          out[m, p] = activation(bias[m] + sum_k weight[k, m] x[k, p]) * scale[m] + shift[m]
    weight_gradient:  dweight[m, k] += sum_p dz[m, p] x[k, p]

m counts output channels, k input channels (or rows of an im2col), p pixels. Rows of `x`, `out` and `dz` are contiguous along p. The weight
of `product` lies input-major, (K, M), so that the M weights of a step lie side by side. The first serves the forward pass
and the input's gradient (with the weight as it is stored, M and K exchanged), the second the weight's gradient.

Cost: M K P multiply-adds each. A tile of 6 rows x 4 vectors loads 4 vectors and 6 scalars for 24 multiply-adds, so arithmetic, not
loads, is the limit; it needs 24 accumulators + 4 + 1 of 32 registers, or 6 x 2 where there are 16.

Every output pixel is the same chain of multiply-adds over k whatever tile it falls into: an image has the same bits alone and in a batch.
"""

from numba import types
from numba.extending import intrinsic

from minisqx.kernels.jit import njit
from minisqx.kernels.simd import INDEX, Loop, Vectors, data_pointer, lanes, vector_registers

# Rows x vectors of the largest tile: as many accumulators as registers allow.
ROWS = 6
VECTORS = 4 if vector_registers()[1] == 32 else 2
GRADIENT_ROWS = 4 if vector_registers()[1] == 32 else 3
LANES32 = lanes(types.float32)
LANES64 = lanes(types.float64)


def _product_tile(rows: int, vectors: int, activation: bool):
    @intrinsic
    def tile(typing, out, out_at, out_stride, weight, weight_at, weight_stride, x, x_at, x_stride, depth, bias, scale, shift, row):
        index = types.int64
        signature = types.void(out, index, index, weight, index, index, x, index, index, index, bias, scale, shift, index)

        def generate(context, builder, signature, arguments):
            v = Vectors(builder, signature.args[0].dtype)

            def pointer(position):
                return data_pointer(context, builder, signature.args[position], arguments[position])

            out, weight, x = pointer(0), pointer(3), pointer(6)
            out_at, out_stride, weight_at, weight_stride, x_at, x_stride, depth, row = (arguments[i] for i in (1, 2, 4, 5, 7, 8, 9, 13))
            bias, scale, shift = (
                [v.broadcast(v.load_scalar(pointer(position), builder.add(row, INDEX(m)))) for m in range(rows)]
                for position in (10, 11, 12)
            )
            initial = [bias[m] for m in range(rows) for _ in range(vectors)]
            loop = Loop(builder, "depth", initial)
            x_row = builder.add(x_at, builder.mul(loop.index, x_stride))
            weight_row = builder.add(weight_at, builder.mul(loop.index, weight_stride))
            columns = [v.load(x, builder.add(x_row, INDEX(n * v.lanes))) for n in range(vectors)]
            sums = []
            for m in range(rows):
                w = v.broadcast(v.load_scalar(weight, builder.add(weight_row, INDEX(m))))
                sums += [v.multiply_add(w, columns[n], loop.values[m * vectors + n]) for n in range(vectors)]
            loop.close(sums, 1, depth)
            for m in range(rows):
                out_row = builder.add(out_at, builder.mul(INDEX(m), out_stride))
                for n in range(vectors):
                    z = sums[m * vectors + n]
                    y = v.multiply_add(v.elu(z) if activation else z, scale[m], shift[m])
                    v.store(y, out, builder.add(out_row, INDEX(n * v.lanes)))
            return context.get_dummy_value()

        return signature, generate

    return tile


def _gradient_tile(rows: int, depth: int):
    @intrinsic
    def tile(typing, dweight, dweight_at, dweight_stride, dz, dz_at, dz_stride, x, x_at, x_stride, columns):
        index = types.int64
        signature = types.void(dweight, index, index, dz, index, index, x, index, index, index)

        def generate(context, builder, signature, arguments):
            v = Vectors(builder, signature.args[0].dtype)
            dweight, dz, x = (data_pointer(context, builder, signature.args[i], arguments[i]) for i in (0, 3, 6))
            dweight_at, dweight_stride, dz_at, dz_stride, x_at, x_stride, columns = (arguments[i] for i in (1, 2, 4, 5, 7, 8, 9))
            loop = Loop(builder, "columns", [v.constant(0.0)] * (rows * depth))
            left, right = (
                [v.load(base, builder.add(builder.add(at, loop.index), builder.mul(INDEX(i), stride))) for i in range(count)]
                for base, at, stride, count in ((dz, dz_at, dz_stride, rows), (x, x_at, x_stride, depth))
            )
            sums = [v.multiply_add(left[m], right[k], loop.values[m * depth + k]) for m in range(rows) for k in range(depth)]
            loop.close(sums, v.lanes, columns)
            for m in range(rows):
                for k in range(depth):
                    at = builder.add(builder.add(dweight_at, builder.mul(INDEX(m), dweight_stride)), INDEX(k))
                    total = builder.fadd(v.load_scalar(dweight, at), v.sum(sums[m * depth + k]))
                    builder.store(total, builder.gep(dweight, [at]))
            return context.get_dummy_value()

        return signature, generate

    return tile


# One tile for each number of rows, so that any channel count is covered by tiles of nearly equal height.
_1, _2, _3, _4, _5, _6 = (_product_tile(rows, VECTORS, False) for rows in range(1, ROWS + 1))
_1s, _2s, _3s, _4s, _5s, _6s = (_product_tile(rows, 1, False) for rows in range(1, ROWS + 1))
_1e, _2e, _3e, _4e, _5e, _6e = (_product_tile(rows, VECTORS, True) for rows in range(1, ROWS + 1))
_1es, _2es, _3es, _4es, _5es, _6es = (_product_tile(rows, 1, True) for rows in range(1, ROWS + 1))


@njit
def product(out, out_at, out_stride, weight, weight_stride, x, x_at, x_stride, depth, columns, bias, scale, shift, first, last, activation):
    """out[m, p] for rows `first` <= m < `last` and `columns` pixels, a multiple of a vector; see the file's head.

    `out`, `weight` and `x` are flat; `out_at` is the place of out[first, 0], `x_at` that of x[0, 0]. activation: 1 for ELU, 0 for none.
    """
    lane_count = LANES32 if out.itemsize == 4 else LANES64
    rows = last - first
    tiles = (rows + ROWS - 1) // ROWS
    p = 0
    while p < columns:
        wide = columns - p >= VECTORS * lane_count
        m = 0
        for t in range(tiles):
            height = (rows - m + tiles - t - 1) // (tiles - t)
            o, w, r = out_at + m * out_stride + p, first + m, first + m
            a = (out, o, out_stride, weight, w, weight_stride, x, x_at + p, x_stride, depth, bias, scale, shift, r)
            if activation:
                if wide:
                    if height == 6:
                        _6e(*a)
                    elif height == 5:
                        _5e(*a)
                    elif height == 4:
                        _4e(*a)
                    elif height == 3:
                        _3e(*a)
                    elif height == 2:
                        _2e(*a)
                    else:
                        _1e(*a)
                elif height == 6:
                    _6es(*a)
                elif height == 5:
                    _5es(*a)
                elif height == 4:
                    _4es(*a)
                elif height == 3:
                    _3es(*a)
                elif height == 2:
                    _2es(*a)
                else:
                    _1es(*a)
            elif wide:
                if height == 6:
                    _6(*a)
                elif height == 5:
                    _5(*a)
                elif height == 4:
                    _4(*a)
                elif height == 3:
                    _3(*a)
                elif height == 2:
                    _2(*a)
                else:
                    _1(*a)
            elif height == 6:
                _6s(*a)
            elif height == 5:
                _5s(*a)
            elif height == 4:
                _4s(*a)
            elif height == 3:
                _3s(*a)
            elif height == 2:
                _2s(*a)
            else:
                _1s(*a)
            m += height
        p += VECTORS * lane_count if wide else lane_count


_g11, _g12, _g13, _g14 = (_gradient_tile(1, depth) for depth in range(1, 5))
_g21, _g22, _g23, _g24 = (_gradient_tile(2, depth) for depth in range(1, 5))
_g31, _g32, _g33, _g34 = (_gradient_tile(3, depth) for depth in range(1, 5))
_g41, _g42, _g43, _g44 = (_gradient_tile(4, depth) for depth in range(1, 5))


@njit
def weight_gradient(dweight, dweight_at, dweight_stride, dz, dz_at, dz_stride, rows, x, x_at, x_stride, depth, columns):
    """dweight[m, k] += sum_p dz[m, p] x[k, p] for `rows` x `depth` elements and `columns` pixels, a multiple of a vector.

    All arrays are flat; each `_at` is the place of element [0, 0]. Columns beyond the last pixel must be zero in `dz` and finite in `x`.
    """
    row_tiles = (rows + GRADIENT_ROWS - 1) // GRADIENT_ROWS
    depth_tiles = (depth + GRADIENT_ROWS - 1) // GRADIENT_ROWS
    m = 0
    for i in range(row_tiles):
        height = (rows - m + row_tiles - i - 1) // (row_tiles - i)
        k = 0
        for j in range(depth_tiles):
            width = (depth - k + depth_tiles - j - 1) // (depth_tiles - j)
            at = dweight_at + m * dweight_stride + k
            a = (dweight, at, dweight_stride, dz, dz_at + m * dz_stride, dz_stride, x, x_at + k * x_stride, x_stride, columns)
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
