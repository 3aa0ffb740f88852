"""The basic block, fused: convolution -> activation f -> batch norm, forward and backward.

Forward, a block of pixels at a time while it is in cache:   e = f(W x + b), stored; mean and squared deviations of e.
Batch norm is then a scale and a shift that whoever reads e applies (`batch_norm`). If the input is itself such a
tensor, x = e' s + t, and the convolution is 1x1, the scale and shift go into the weights: W x + b = (W s) e' + (b + W
t). Other convolutions apply them in their im2col.

Backward, again one pass, given where the gradient g = dL/d(output) comes from (`blocks.Source`):

    dz = (a g + b e + c) f'(e)                   batch norm's backward (coefficients a, b, c a channel), then f's; stored
    G[m, k, t] = sum_p dz[m, p] e'[k, p + t]     the weight's gradient, on the stored input
    B[m, t]    = sum_p dz[m, p] inside(p + t)    the bias's gradient, tap by tap: the same sum on a channel of ones
    dW = s G + t B,  db = B[centre]

and, from these alone, the row sums that the backward of the input's own batch norm needs (g' = dL/d(input) = W^T dz):

    sum_p g'[k, p] = sum_mt W[m, k, t] B[m, t],   sum_p g'[k, p] e'[k, p] = sum_mt W[m, k, t] G[m, k, t]

Without batch norm (SqueezeNet) the scale is 1 and the shift 0, and dz = g f'(e). What a block stores may be some rows of a larger
tensor: the concatenation of a fire module is two blocks that write side by side.

Cost a pixel: K M multiply-adds forward, 2 K M backward; one tensor written and one or two read each way.
"""

import numpy as np
from numba import get_thread_id, prange

from minisqx.kernels import batch_norm
from minisqx.kernels.activation import NO_ACTIVATION, activate_row
from minisqx.kernels.blocks import (
    BLOCK,
    SCRATCH_STRIDE,
    clear_tail,
    copy,
    fill_gradient,
    images_of,
    is_pointwise,
    source_operand,
    whole_vectors,
)
from minisqx.kernels.im2col import OUT_HEIGHT, OUT_WIDTH, PADDING_HEIGHT, PADDING_WIDTH, im2col
from minisqx.kernels.jit import njit
from minisqx.kernels.product import product, product_to_dz, product_with_moments, weight_gradient
from minisqx.kernels.simd import VECTOR_BYTES

# Elements from which a loop is worth starting the other threads for.
WORTH_SHARING = 100_000


@njit
def fold(folded_weight, folded_bias, weight, bias, scale, shift, taps, pointwise):
    """The weight input-major, (K * taps, M), and the bias; with the input's scale and shift in them if `pointwise`."""
    outputs, channels = weight.shape[0], weight.shape[1] // taps
    for m in range(outputs):
        total = np.float64(bias[m])
        for k in range(channels):
            for r in range(k * taps, (k + 1) * taps):
                if pointwise:
                    folded_weight[r, m] = weight[m, r] * scale[k]
                    total += np.float64(weight[m, r]) * shift[k]
                else:
                    folded_weight[r, m] = weight[m, r]
        folded_bias[m] = total


@njit
def gather(scratch, x, at, stride, channels, taps, first, columns, pixels, scale, shift, activation):
    """im2col of a block into `scratch` (rows of SCRATCH_STRIDE), through the activation before which the input is stored."""
    inside, index = taps.inside.reshape(taps.inside.size), taps.index.reshape(taps.index.size)
    im2col(
        scratch, SCRATCH_STRIDE, x[at:], stride, channels, taps.geometry, inside, index, taps.inside.shape[1],
        first, columns, pixels, scale, shift,
    )  # fmt: skip
    if activation:
        for r in range(channels * taps.inside.shape[0]):
            activate_row(scratch, r * SCRATCH_STRIDE, scratch, r * SCRATCH_STRIDE, activation, columns)


@njit
def convolve_chunk(
    out, out_at, out_stride, outputs, x, x_at, x_stride, channels, pixels, weight, bias, scale, shift, kind, activated,
    taps, in_scale, in_shift, in_activation, moments, scratch,
):  # fmt: skip
    """One chunk of out = f(weight^T im2col(x) + bias) * scale + shift, f of `kind`; rows from `activated` on have no activation.

    out, x, weight: flat, with the places of their elements [0, 0]; weight is (channels * taps, outputs) and bias
    (outputs,), from `fold`. pixels: the chunk's output pixels. in_scale, in_shift, in_activation (a kind): what the gather
    applies to x. moments: (2, outputs) float64, written: the moments of what was stored, which then has no scale and no
    shift; or None. scratch: flat, for the im2col and, if moments are wanted, behind it for 3 vectors an output.
    """
    depth = channels * taps.inside.shape[0]
    direct = is_pointwise(taps.geometry) and not in_activation
    padded = whole_vectors(pixels, out.itemsize)
    lane_count = VECTOR_BYTES // out.itemsize
    lane_moments = scratch[depth * SCRATCH_STRIDE :]
    if moments is not None:
        lane_moments[: 3 * outputs * lane_count] = 0
    for first in range(0, padded, BLOCK):
        columns = min(BLOCK, padded - first)
        if direct:
            operand, operand_stride = x[x_at + first :], x_stride
        else:
            gather(scratch, x, x_at, x_stride, channels, taps, first, columns, pixels, in_scale, in_shift, in_activation)
            operand, operand_stride = scratch, SCRATCH_STRIDE
        for start, stop, activation in ((0, activated, kind), (activated, outputs, NO_ACTIVATION)):
            if start < stop:
                target, rows = out[out_at + start * out_stride + first :], stop - start
                # Whole vectors of pixels give their moments on the way; the columns of padding must not.
                whole = 0
                if moments is not None:
                    whole = min(columns, pixels - first) // lane_count * lane_count
                    if whole > 0:
                        product_with_moments(
                            target, out_stride, weight[start:], outputs, operand, operand_stride, depth, whole,
                            rows, activation, bias[start:], lane_moments[3 * start * lane_count :], first // lane_count,
                        )  # fmt: skip
                if whole < columns:
                    product(
                        target[whole:], out_stride, weight[start:], outputs, operand[whole:], operand_stride, depth,
                        columns - whole, rows, activation, bias[start:], scale[start:], shift[start:],
                    )  # fmt: skip
    clear_tail(out, out_at, out_stride, outputs, pixels, padded)
    if moments is not None:
        rest = pixels % lane_count
        batch_norm.merge_lanes(moments, lane_moments, lane_count, pixels // lane_count)
        if rest > 0:
            batch_norm.add_moments(moments, out, out_at + pixels - rest, out_stride, outputs, pixels - rest, rest)


@njit(parallel=True)
def forward(
    out, out_row, scale, shift, normalised, mean, variance, running_mean, running_var, x, in_scale, in_shift, in_activation,
    weight, bias, gamma, beta, kind, activated, taps, cut, constants, folded_weight, folded_bias, chunk_moments, workspace,
):  # fmt: skip
    """The training forward pass of a basic block.

    Writes rows `out_row` to out_row + M of out (chunks, M or more, stride), and, if `normalised`, the batch's mean and variance
    (float64), scale and shift (M,); it then updates the running statistics. kind: of the activation, which the first `activated`
    rows have. x (chunks, K or more, stride) with in_scale, in_shift (K,), of which the first K rows are read; weight (M, K *
    taps). folded_weight, folded_bias, chunk_moments (chunks, 2, M), workspace (threads, size): scratch.
    """
    pointwise = is_pointwise(taps.geometry) and not in_activation
    fold(folded_weight, folded_bias, weight, bias, in_scale, in_shift, taps.inside.shape[0], pointwise)
    outputs = weight.shape[0]
    out_pixels = taps.geometry[OUT_HEIGHT] * taps.geometry[OUT_WIDTH]
    out_stride, x_stride = out.shape[2], x.shape[2]
    out_flat, x_flat, weight_flat = out.reshape(out.size), x.reshape(x.size), folded_weight.reshape(folded_weight.size)
    counts = np.empty(out.shape[0], np.int64)
    for chunk_ in prange(out.shape[0]):
        chunk = np.int64(chunk_)
        counts[chunk] = images_of(cut, chunk) * out_pixels
        convolve_chunk(
            out_flat, (chunk * out.shape[1] + out_row) * out_stride, out_stride, outputs,
            x_flat, chunk * x.shape[1] * x_stride, x_stride, in_scale.size, counts[chunk],
            weight_flat, folded_bias, constants.ones, constants.zeros, kind, activated,
            taps, in_scale, in_shift, in_activation, chunk_moments[chunk], workspace[get_thread_id()],
        )  # fmt: skip
    if normalised:
        count = batch_norm.merge_moments(chunk_moments, counts, mean, variance)
        batch_norm.affine(scale, shift, gamma, beta, mean, variance)
        batch_norm.update_running(running_mean, running_var, mean, variance, count)


@njit
def write_dz(
    dz, dz_stride, e, e_stride, outputs, kind, activated, coefficients,
    source, chunk, first, columns, pixels, constants, g, scratch,
):  # fmt: skip
    """dz = (a g + b e + c) f'(e) for a block of pixels, flat from its first element on; dz may be e itself.

    coefficients: (3, outputs) a, b, c. g, scratch: flat, for the rows of the gradient that are no product, and for an im2col.
    """
    a, b, c = coefficients
    in_registers = 0 if source.added else source.produced
    if in_registers > 0:
        operand, operand_stride = source_operand(source, chunk, first, columns, pixels, constants, scratch)
        weight = source.weight.reshape(source.weight.size)
        middle = min(activated, in_registers)
        for start, stop, activation in ((0, middle, kind), (middle, in_registers, NO_ACTIVATION)):
            if start < stop:
                product_to_dz(
                    dz[start * dz_stride :], dz_stride, weight[start:], source.produced, operand, operand_stride,
                    source.weight.shape[0], columns, stop - start, activation, constants.zeros,
                    a[start:], b[start:], c[start:], e[start * e_stride :], e_stride,
                )  # fmt: skip
    if in_registers < outputs:
        fill_gradient(g, in_registers, outputs, source, chunk, first, columns, pixels, constants, scratch)
        for m in range(in_registers, outputs):
            row_kind = kind if m < activated else NO_ACTIVATION
            batch_norm.dz_row(dz, m * dz_stride, g, m * SCRATCH_STRIDE, e, m * e_stride, a[m], b[m], c[m], row_kind, columns)
    clear_tail(dz, 0, dz_stride, outputs, pixels - first, columns)


@njit(parallel=True)
def backward(
    e, e_row, keep, dweight, dbias, dgamma, dbeta, in_sums, source, sums, count, normalised, mean, variance, gamma,
    kind, activated, x, in_scale, in_shift, in_activation, weight, taps, cut, constants, chunk_gradients, workspace, regions,
):  # fmt: skip
    """The backward pass of a basic block whose batch norm comes last, or has none; see the file's head.

    e: (chunks, M or more, stride), whose rows `e_row` on are the block's stored output, becomes dz if `keep`: nobody reads it any
    more, and it is in cache. dweight, weight: (M, K * taps). sums: (2, M) float64, sum g and sum g e, from whoever read this
    block's output; in_sums: (2, K or more), the same for the input, written. chunk_gradients: (chunks, M, (K + 1) * taps),
    scratch. regions: where in a thread's workspace the source's im2col, g, and the input's im2col begin.
    """
    outputs, stride = weight.shape[0], e.shape[2]
    channels, x_stride = in_scale.size, x.shape[2]
    tap_count, columns_of_table = taps.inside.shape
    depth = channels * tap_count
    out_pixels = taps.geometry[OUT_HEIGHT] * taps.geometry[OUT_WIDTH]
    direct = is_pointwise(taps.geometry) and not in_activation
    inside = taps.inside.reshape(taps.inside.size)
    # Without padding every tap lies inside everywhere: one sum of dz serves all.
    has_padding = taps.geometry[PADDING_HEIGHT] + taps.geometry[PADDING_WIDTH] > 0
    bias_taps = tap_count if has_padding else 1
    centre = taps.geometry[0] // 2 * taps.geometry[1] + taps.geometry[1] // 2
    coefficients = np.empty((3, outputs), e.dtype)
    if normalised:
        batch_norm.backward_coefficients(coefficients, dgamma, dbeta, gamma, mean, variance, count, sums)
    else:
        coefficients[0] = 1
        coefficients[1:] = 0
    e_flat, x_flat = e.reshape(e.size), x.reshape(x.size)
    gradients = chunk_gradients.reshape(chunk_gradients.size)
    gradient_stride = depth + tap_count
    for chunk_ in prange(e.shape[0]):
        chunk = np.int64(chunk_)
        scratch = workspace[get_thread_id()]
        g, columns_of_x = scratch[regions[1] : regions[2]], scratch[regions[2] :]
        pixels = images_of(cut, chunk) * out_pixels
        padded = whole_vectors(pixels, e.itemsize)
        at, x_at = (chunk * e.shape[1] + e_row) * stride, chunk * x.shape[1] * x_stride
        gradient_at = chunk * outputs * gradient_stride
        gradients[gradient_at : gradient_at + outputs * gradient_stride] = 0
        for first in range(0, padded, BLOCK):
            columns = min(BLOCK, padded - first)
            stored = e_flat[at + first :]
            dz, dz_stride = (stored, stride) if keep else (g, SCRATCH_STRIDE)
            write_dz(
                dz, dz_stride, stored, stride, outputs, kind, activated, coefficients,
                source, chunk, first, columns, pixels, constants, g, scratch,
            )  # fmt: skip
            if direct:
                operand, operand_stride = x_flat[x_at + first :], x_stride
            else:
                # The input as it is stored; scale and shift come afterwards, below. (After an activation they can't.)
                gather_scale, gather_shift = (in_scale, in_shift) if in_activation else (constants.ones, constants.zeros)
                gather(
                    columns_of_x, x_flat, x_at, x_stride, channels, taps, first, columns, pixels,
                    gather_scale, gather_shift, in_activation,
                )  # fmt: skip
                operand, operand_stride = columns_of_x, SCRATCH_STRIDE
            ones, ones_stride = (inside[first:], columns_of_table) if has_padding else (constants.ones, 0)
            sums = gradients[gradient_at:]
            weight_gradient(sums, gradient_stride, dz, dz_stride, outputs, operand, operand_stride, depth, columns)
            weight_gradient(sums[depth:], gradient_stride, dz, dz_stride, outputs, ones, ones_stride, bias_taps, columns)
    total = np.zeros((outputs, gradient_stride))
    if chunk_gradients.size > WORTH_SHARING:
        for m_ in prange(outputs):
            m = np.int64(m_)
            add_chunks(total[m], dweight, dbias, m, chunk_gradients, in_scale, in_shift, in_activation, bias_taps, centre)
    else:
        for m in range(outputs):
            add_chunks(total[m], dweight, dbias, m, chunk_gradients, in_scale, in_shift, in_activation, bias_taps, centre)
    sums_of_input(in_sums, total, weight, channels, tap_count)


@njit
def add_chunks(total, dweight, dbias, m, chunk_gradients, in_scale, in_shift, in_activation, bias_taps, centre):
    """Row m of the gradients: `total` ((K + 1) * taps,) float64, of the weight on the stored input and of the bias tap by tap,
    and what follows from it. Chunks are added in their order, whatever thread does it.
    """
    depth, channels = dweight.shape[1], in_scale.size
    taps = depth // channels
    for chunk in range(chunk_gradients.shape[0]):
        for r in range(depth + bias_taps):
            total[r] += chunk_gradients[chunk, m, r]
    total[depth + bias_taps :] = total[depth]
    dbias[m] = total[depth + centre]
    for k in range(channels):
        for t in range(taps):
            r, inside_sum = k * taps + t, total[depth + t]
            dweight[m, r] = total[r] if in_activation else in_scale[k] * total[r] + in_shift[k] * inside_sum


@njit
def sums_of_input(in_sums, total, weight, channels, taps):
    """The row sums of the input's gradient: in_sums[:, :channels] of the weight's and the bias's gradient `total` (M, (K + 1) *
    taps), as they are before scale and shift.
    """
    in_sums[:, :channels] = 0
    for m in range(weight.shape[0]):
        for k in range(channels):
            for t in range(taps):
                r = k * taps + t
                in_sums[0, k] += weight[m, r] * total[m, channels * taps + t]
                in_sums[1, k] += weight[m, r] * total[m, r]


@njit(parallel=True)
def input_gradient(dx, source, cut, constants, map_pixels, workspace, regions):
    """dx (chunks, K, stride): the gradient that `source` describes, written out."""
    dx_flat = dx.reshape(dx.size)
    rows, stride = dx.shape[1], dx.shape[2]
    for chunk_ in prange(dx.shape[0]):
        chunk = np.int64(chunk_)
        scratch = workspace[get_thread_id()]
        g = scratch[regions[1] :]
        pixels = images_of(cut, chunk) * map_pixels
        padded = whole_vectors(pixels, dx.itemsize)
        at = chunk * rows * stride
        for first in range(0, padded, BLOCK):
            columns = min(BLOCK, padded - first)
            fill_gradient(g, 0, rows, source, chunk, first, columns, pixels, constants, scratch)
            for m in range(rows):
                copy(dx_flat, at + m * stride + first, g, m * SCRATCH_STRIDE, columns)
        clear_tail(dx_flat, at, stride, rows, pixels, padded)
