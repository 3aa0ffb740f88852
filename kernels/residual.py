"""The residual sum r = f(u + v), and the backward of any activation f that follows a sum or a batch norm.

Forward: u and v are stored tensors with a deferred scale and shift (and, in the order convolution, batch norm, activation, a
deferred activation). Backward: ds = g f'(r). On the way it takes the row sums that the batch norms before the sum need: sum ds,
sum ds u' and sum ds v', u' and v' as they are stored.

Where the layer that reads r has stride 2, only the pixels that it reads are summed, and ds is zero at all others
(`kernels.sampling`). The samples of u and v are kept for backward, a quarter of the tensors, which then reads no others.
"""

import numpy as np
from numba import get_thread_id, prange, types

from minisqx.kernels.activation import activate_row
from minisqx.kernels.blocks import BLOCK, SCRATCH_STRIDE, clear_tail, copy, fill_gradient, images_of, whole_vectors
from minisqx.kernels.jit import njit
from minisqx.kernels.plain import ELU, NO_ACTIVATION, RELU, activate, activation_backward, intrinsic_of
from minisqx.kernels.sampling import sample
from minisqx.kernels.simd import INDEX, Loop, Vectors, data_pointer, multiply_add, switch


@njit
def load_row(out, out_at, x, at, columns, scale, shift, activation):
    """out[p] = f(x[p] * scale + shift) for a row's block: a value as its reader means it. activation: the kind of f."""
    target, stored = out[out_at : out_at + columns], x[at : at + columns]
    for p in range(columns):
        target[p] = multiply_add(stored[p], scale, shift)
    if activation:
        activate_row(out, out_at, out, out_at, activation, columns)


def _added(out, out_at, u, u_at, u_scale, u_shift, u_active, v, v_at, v_scale, v_shift, v_active, kind, columns):
    left = activate(u[u_at : u_at + columns] * u_scale + u_shift, u_active * kind)
    right = activate(v[v_at : v_at + columns] * v_scale + v_shift, v_active * kind)
    out[out_at : out_at + columns] = activate(left + right, kind)


@intrinsic_of(_added)
def _add_vectors(
    typing_context, out, out_at, u, u_at, u_scale, u_shift, u_active, v, v_at, v_scale, v_shift, v_active, kind, columns
):
    index = types.int64
    signature = types.void(out, index, u, index, u_scale, u_shift, index, v, index, v_scale, v_shift, index, index, index)

    def generate(context, builder, signature, arguments):
        vectors = Vectors(builder, signature.args[0].dtype)
        out, u, v = (data_pointer(context, builder, signature.args[i], arguments[i]) for i in (0, 2, 7))
        out_at, u_at, v_at, columns = (arguments[i] for i in (1, 3, 8, 13))
        u_scale, u_shift, v_scale, v_shift = (vectors.broadcast(arguments[i]) for i in (4, 5, 9, 10))

        def emit(kind: int, u_kind: int, v_kind: int) -> None:
            loop = Loop(builder, "add", [])
            a = vectors.multiply_add(vectors.load(u, builder.add(u_at, loop.index)), u_scale, u_shift)
            b = vectors.multiply_add(vectors.load(v, builder.add(v_at, loop.index)), v_scale, v_shift)
            total = builder.fadd(vectors.activate(a, u_kind), vectors.activate(b, v_kind))
            vectors.store(vectors.activate(total, kind), out, builder.add(out_at, loop.index))
            loop.close([], vectors.lanes, columns)

        # An activation that is deferred is the sum's own, so only whether there is one makes cases.
        selector = builder.add(
            builder.mul(arguments[12], INDEX(4)), builder.add(builder.mul(arguments[6], INDEX(2)), arguments[11])
        )
        cases = {
            4 * kind + 2 * a + b: lambda kind=kind, a=a, b=b: emit(kind, a * kind, b * kind)
            for kind in (ELU, RELU)
            for a in (0, 1)
            for b in (0, 1)
        }
        switch(builder, selector, cases)
        return context.get_dummy_value()

    return signature, generate


@njit
def add_row(out, out_at, u, u_at, u_scale, u_shift, u_activation, v, v_at, v_scale, v_shift, v_activation, kind, columns):
    """out[p] = f(u[p] * u_scale + u_shift + v[p] * v_scale + v_shift), each with an f of its own first if it is deferred."""
    u_active, v_active = int(u_activation != 0), int(v_activation != 0)
    _add_vectors(out, out_at, u, u_at, u_scale, u_shift, u_active, v, v_at, v_scale, v_shift, v_active, kind, columns)


@njit
def add_chunk(
    out, out_at, out_stride, rows, u, u_at, u_stride, u_scale, u_shift, u_activation,
    v, v_at, v_stride, v_scale, v_shift, v_activation, v_sampled, height, width, kind, pixels, scratch,
):  # fmt: skip
    """One chunk of out = f(u + v), flat; u and v with their deferred scale, shift (rows,) and activation. kind: of f.

    pixels: of the sum; height, width: of v's map where of it only the samples are to be read. scratch: a row.
    """
    padded = whole_vectors(pixels, out.itemsize)
    for m in range(rows):
        for first in range(0, padded, BLOCK):
            columns = min(BLOCK, padded - first)
            right, right_at = v, v_at + m * v_stride + first
            if v_sampled:
                sample(scratch, 0, v, v_at + m * v_stride, height, width, first, columns, pixels)
                right, right_at = scratch, 0
            add_row(
                out, out_at + m * out_stride + first, u, u_at + m * u_stride + first, u_scale[m], u_shift[m], u_activation,
                right, right_at, v_scale[m], v_shift[m], v_activation, kind, columns,
            )  # fmt: skip
    clear_tail(out, out_at, out_stride, rows, pixels, padded)


@njit
def sample_chunk(out, chunk, x, x_row, height, width, pixels, scratch):
    """The samples of rows `x_row` on of one chunk of x (chunks, rows or more, stride) into out (chunks, rows, stride)."""
    rows, stride = out.shape[1], out.shape[2]
    out_flat, x_flat = out.reshape(out.size), x.reshape(x.size)
    for m in range(rows):
        x_at, at = (chunk * x.shape[1] + x_row + m) * x.shape[2], (chunk * rows + m) * stride
        for first in range(0, pixels, BLOCK):
            columns = min(BLOCK, whole_vectors(pixels, out.itemsize) - first)
            sample(scratch, 0, x_flat, x_at, height, width, first, columns, pixels)
            copy(out_flat, at + first, scratch, 0, columns)


@njit(parallel=True)
def forward(
    out, u, u_row, u_scale, u_shift, u_activation, v, v_row, v_scale, v_shift, v_activation,
    kind, cut, map_pixels, sampled, height, width, u_samples, v_samples, workspace,
):  # fmt: skip
    """out (chunks, rows, stride) = f(u + v), f of `kind`; u and v: rows `u_row` and `v_row` on of (chunks, rows or more, stride).

    map_pixels: of the sum. If `sampled`, only the samples of u and v, maps of height x width, are added; u_samples and v_samples
    (chunks, rows, stride) then receive them.
    """
    rows, stride = out.shape[1], out.shape[2]
    out_flat, u_flat, v_flat = out.reshape(out.size), u.reshape(u.size), v.reshape(v.size)
    u_kept, v_kept = u_samples.reshape(u_samples.size), v_samples.reshape(v_samples.size)
    for chunk_ in prange(out.shape[0]):
        chunk = np.int64(chunk_)
        scratch, at, pixels = workspace[get_thread_id()], chunk * rows * stride, images_of(cut, chunk) * map_pixels
        left, left_at, left_stride = u_flat, (chunk * u.shape[1] + u_row) * u.shape[2], u.shape[2]
        right, right_at, right_stride = v_flat, (chunk * v.shape[1] + v_row) * v.shape[2], v.shape[2]
        if sampled:
            sample_chunk(u_samples, chunk, u, u_row, height, width, pixels, scratch)
            sample_chunk(v_samples, chunk, v, v_row, height, width, pixels, scratch)
            left, left_at, left_stride, right, right_at, right_stride = u_kept, at, stride, v_kept, at, stride
        add_chunk(
            out_flat, at, stride, rows, left, left_at, left_stride, u_scale, u_shift, u_activation,
            right, right_at, right_stride, v_scale, v_shift, v_activation, False, height, width, kind, pixels, scratch,
        )  # fmt: skip


def _ds(ds, ds_at, g, g_at, y, y_at, u, u_at, v, v_at, kind, columns, sums):
    gradient = activation_backward(g[g_at : g_at + columns], y[y_at : y_at + columns], kind)
    ds[ds_at : ds_at + columns] = gradient
    for number, factor in enumerate((np.ones_like(gradient), u[u_at : u_at + columns], v[v_at : v_at + columns])):
        sums[number] += (gradient * factor).sum(dtype=np.float64)


@intrinsic_of(_ds)
def _ds_vectors(typing_context, ds, ds_at, g, g_at, y, y_at, u, u_at, v, v_at, kind, columns, sums):
    index = types.int64
    signature = types.void(ds, index, g, index, y, index, u, index, v, index, index, index, sums)

    def generate(context, builder, signature, arguments):
        vectors = Vectors(builder, signature.args[0].dtype)
        ds, g, y, u, v, sums = (data_pointer(context, builder, signature.args[i], arguments[i]) for i in (0, 2, 4, 6, 8, 12))
        ds_at, g_at, y_at, u_at, v_at, kind, columns = (arguments[i] for i in (1, 3, 5, 7, 9, 10, 11))

        def emit(kind: int) -> None:
            loop = Loop(builder, "ds", [vectors.constant(0.0)] * 3)
            gradient, output, left, right = (
                vectors.load(base, builder.add(at, loop.index)) for base, at in ((g, g_at), (y, y_at), (u, u_at), (v, v_at))
            )
            gradient = vectors.activation_backward(gradient, output, kind)
            vectors.store(gradient, ds, builder.add(ds_at, loop.index))
            plain, with_u, with_v = loop.values
            following = [
                builder.fadd(plain, gradient),
                vectors.multiply_add(gradient, left, with_u),
                vectors.multiply_add(gradient, right, with_v),
            ]
            loop.close(following, vectors.lanes, columns)
            for number, total in enumerate(following):
                at = builder.gep(sums, [INDEX(number)])
                total = context.cast(builder, vectors.sum(total), signature.args[0].dtype, types.float64)
                builder.store(builder.fadd(builder.load(at), total), at)

        switch(builder, kind, {kind: lambda kind=kind: emit(kind) for kind in (NO_ACTIVATION, ELU, RELU)})
        return context.get_dummy_value()

    return signature, generate


@njit
def ds_row(ds, ds_at, g, g_at, y, y_at, u, u_at, v, v_at, kind, columns, sums):
    """ds[p] = g f'(y) for `columns` p, a multiple of a vector. kind: of the activation f.

    Adds sum ds, sum ds u and sum ds v to sums (3,) float64.
    """
    _ds_vectors(ds, ds_at, g, g_at, y, y_at, u, u_at, v, v_at, kind, columns, sums)


@njit(parallel=True)
def backward(
    ds, sums_u, sums_v, source, y, y_scale, y_shift, y_activation, kind, activated, u, u_row, v, v_row,
    u_sums_at, v_sums_at, cut, map_pixels, constants, chunk_sums, workspace, regions,
):  # fmt: skip
    """ds (chunks, rows, stride) = g f'(y), g from `source`, f of `kind`; rows from `activated` on had no activation.

    ds may be y itself: nobody reads it any more. sums_u, sums_v: sum ds, and sum ds times the stored u or v (their rows `u_row`
    and `v_row` on), written to columns `u_sums_at` and `v_sums_at` on. y (chunks, rows, stride) is the activation's output, or,
    if `y_activation` (its kind), what its input is made of (y_scale, y_shift (rows,) applied first). chunk_sums: (chunks, rows,
    3) float64, scratch. `regions` as in `convolution.backward`; the third holds one row.
    """
    rows, stride = ds.shape[1], ds.shape[2]
    ds_flat, y_flat, u_flat, v_flat = ds.reshape(ds.size), y.reshape(y.size), u.reshape(u.size), v.reshape(v.size)
    for chunk_ in prange(ds.shape[0]):
        chunk = np.int64(chunk_)
        scratch = workspace[get_thread_id()]
        g, value = scratch[regions[1] : regions[2]], scratch[regions[2] :]
        pixels = images_of(cut, chunk) * map_pixels
        padded = whole_vectors(pixels, ds.itemsize)
        chunk_sums[chunk] = 0
        for first in range(0, padded, BLOCK):
            columns = min(BLOCK, padded - first)
            valid = min(columns, pixels - first)
            fill_gradient(g, 0, rows, source, chunk, first, columns, pixels, constants, scratch)
            for m in range(rows):
                at = (chunk * rows + m) * stride + first
                u_at = (chunk * u.shape[1] + u_row + m) * u.shape[2] + first
                v_at = (chunk * v.shape[1] + v_row + m) * v.shape[2] + first
                g[m * SCRATCH_STRIDE + valid : m * SCRATCH_STRIDE + columns] = 0
                output, output_at = y_flat, at
                if y_activation:
                    load_row(value, 0, y_flat, at, columns, y_scale[m], y_shift[m], y_activation)
                    output, output_at = value, 0
                ds_row(
                    ds_flat, at, g, m * SCRATCH_STRIDE, output, output_at, u_flat, u_at, v_flat, v_at,
                    kind if m < activated else NO_ACTIVATION, columns, chunk_sums[chunk, m],
                )  # fmt: skip
    for m in range(rows):
        total, with_u, with_v = 0.0, 0.0, 0.0
        for chunk in range(ds.shape[0]):
            total += chunk_sums[chunk, m, 0]
            with_u += chunk_sums[chunk, m, 1]
            with_v += chunk_sums[chunk, m, 2]
        sums_u[0, u_sums_at + m], sums_u[1, u_sums_at + m] = total, with_u
        sums_v[0, v_sums_at + m], sums_v[1, v_sums_at + m] = total, with_v
