"""The residual sum r = ELU(u + v), and the backward of any ELU that follows a sum or a batch norm.

Forward: u and v are stored tensors with a deferred scale and shift (and, in the order convolution, batch norm, ELU, a
deferred ELU). Backward: ds = g ELU'(r), with ELU'(r) = 1 where r > 0, else r + 1. On the way it takes the row sums that
the batch norms before the sum need: sum ds, sum ds u' and sum ds v', u' and v' as they are stored.
"""

from numba import get_thread_id, prange

from minisqx.kernels.blocks import BLOCK, SCRATCH_STRIDE, clear_tail, fill_gradient, images_of, whole_vectors
from minisqx.kernels.elu import elu_row
from minisqx.kernels.jit import njit


@njit
def load_row(out, out_at, x, at, columns, scale, shift, activation):
    """out[p] = x[p] * scale + shift for a row's block, then ELU if `activation`: a value as its reader means it."""
    target, stored = out[out_at : out_at + columns], x[at : at + columns]
    for p in range(columns):
        target[p] = stored[p] * scale + shift
    if activation:
        elu_row(out, out_at, out, out_at, columns)


@njit
def add_chunk(
    out,
    out_at,
    out_stride,
    rows,
    u,
    u_at,
    u_scale,
    u_shift,
    u_activation,
    v,
    v_at,
    v_scale,
    v_shift,
    v_activation,
    pixels,
    scratch,
):
    """One chunk of out = ELU(u + v), all of one stride; u and v with their deferred scale, shift (rows,) and activation."""
    padded = whole_vectors(pixels, out.itemsize)
    for m in range(rows):
        row = m * out_stride
        for first in range(row, row + padded, BLOCK):
            columns = min(BLOCK, row + padded - first)
            load_row(out, out_at + first, u, u_at + first, columns, u_scale[m], u_shift[m], u_activation)
            load_row(scratch, 0, v, v_at + first, columns, v_scale[m], v_shift[m], v_activation)
            target = out[out_at + first : out_at + first + columns]
            for p in range(columns):
                target[p] += scratch[p]
            elu_row(out, out_at + first, out, out_at + first, columns)
    clear_tail(out, out_at, out_stride, rows, pixels, padded)


@njit(parallel=True)
def forward(out, u, u_row, u_scale, u_shift, u_activation, v, v_row, v_scale, v_shift, v_activation, cut, map_pixels, workspace):
    """out (chunks, rows, stride) = ELU(u + v); u and v are rows `u_row` and `v_row` on of (chunks, rows or more, stride)."""
    rows, stride = out.shape[1], out.shape[2]
    out_flat, u_flat, v_flat = out.reshape(out.size), u.reshape(u.size), v.reshape(v.size)
    for chunk in prange(out.shape[0]):
        add_chunk(
            out_flat, chunk * rows * stride, stride, rows,
            u_flat, (chunk * u.shape[1] + u_row) * stride, u_scale, u_shift, u_activation,
            v_flat, (chunk * v.shape[1] + v_row) * stride, v_scale, v_shift, v_activation,
            images_of(cut, chunk) * map_pixels, workspace[get_thread_id()],
        )  # fmt: skip


@njit
def _ds_row(sums, g, y, u, v, activated):
    """g becomes ds = g ELU'(y) for a block of one row, all of one length; adds sum ds, sum ds u, sum ds v to `sums`."""
    one = g.dtype.type(1)
    if activated:
        for p in range(g.size):
            g[p] *= min(y[p] + one, one)
    plain = g[0] * 0
    with_u, with_v = plain, plain
    for p in range(g.size):
        plain += g[p]
        with_u += g[p] * u[p]
        with_v += g[p] * v[p]
    sums[0] += plain
    sums[1] += with_u
    sums[2] += with_v


@njit(parallel=True)
def backward(
    ds, sums_u, sums_v, source, y, y_scale, y_shift, y_activation, activated, u, u_row, v, v_row,
    cut, map_pixels, constants, chunk_sums, workspace, regions,
):  # fmt: skip
    """ds (chunks, rows, stride) = g ELU'(y), g from `source`; rows from `activated` on had no ELU.

    ds may be y itself: nobody reads it any more. sums_u, sums_v: sum ds, and sum ds times the stored u or v, written to
    their columns `u_row` and `v_row` on. y (chunks, rows, stride) is the ELU's output, or, if `y_activation`, what its
    input is made of (y_scale, y_shift (rows,) applied first). chunk_sums: (chunks, rows, 3) float64, scratch. `regions`
    as in `convolution.backward`; the third holds one row.
    """
    rows, stride = ds.shape[1], ds.shape[2]
    ds_flat, y_flat, u_flat, v_flat = ds.reshape(ds.size), y.reshape(y.size), u.reshape(u.size), v.reshape(v.size)
    for chunk in prange(ds.shape[0]):
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
                u_at = (chunk * u.shape[1] + u_row + m) * stride + first
                v_at = (chunk * v.shape[1] + v_row + m) * stride + first
                result = g[m * SCRATCH_STRIDE : m * SCRATCH_STRIDE + columns]
                output = y_flat[at : at + columns]
                if y_activation:
                    load_row(value, 0, y_flat, at, columns, y_scale[m], y_shift[m], True)
                    output = value[:columns]
                _ds_row(
                    chunk_sums[chunk, m], result[:valid], output[:valid],
                    u_flat[u_at : u_at + valid], v_flat[v_at : v_at + valid], m < activated,
                )  # fmt: skip
                result[valid:] = 0
                ds_flat[at : at + columns] = result
    for m in range(rows):
        total, with_u, with_v = 0.0, 0.0, 0.0
        for chunk in range(ds.shape[0]):
            total += chunk_sums[chunk, m, 0]
            with_u += chunk_sums[chunk, m, 1]
            with_v += chunk_sums[chunk, m, 2]
        sums_u[0, u_row + m], sums_u[1, u_row + m] = total, with_u
        sums_v[0, v_row + m], sums_v[1, v_row + m] = total, with_v
