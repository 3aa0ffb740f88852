"""The basic block, fused: convolution -> activation f -> batch norm, forward and backward.

Forward, a block of pixels at a time while it is in cache:   e = f(W x + b), stored; mean and squared deviations of e.
Batch norm is then a scale and a shift that the reader of e applies (`batch_norm`). If the input is itself such a
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

from minisqx.kernels import batch_norm
from minisqx.kernels.activation import NO_ACTIVATION
from minisqx.kernels.blocks import (
    as_stored,
    block_at,
    blocks_in,
    chunk_of,
    clear_tail,
    columns_of,
    copy,
    fill_gradient,
    gradient_rows,
    is_pointwise,
    matrix_of,
    of_block,
    pixels_of,
    scratch_of,
    source_columns,
    whole_vectors,
)
from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.compiler.tasks import Chunked, Gathered, Shared, Task
from minisqx.kernels.geometry import PADDING_HEIGHT, PADDING_WIDTH
from minisqx.kernels.structures import Affine, ChunkMoments, Extent, Matrix, Moments, NormBackward, Rows
from minisqx.kernels.tiles.product import product, product_to_dz, product_with_moments, weight_gradient
from minisqx.kernels.tiles.simd import VECTOR_BYTES, flat

# Rows of a weight's gradient whose chunks a thread adds at a time.
ROWS = 16


@njit
def fold(folded, parameters, x, taps, pointwise):
    """Writes the weight (M, K * taps) input-major, (K * taps, M), and the bias to a `Folded`; if `pointwise`, with the scale and
    shift of the input x in them.
    """
    weight, bias = parameters.weight, parameters.bias
    outputs, channels = weight.shape[0], weight.shape[1] // taps
    for m in range(outputs):
        total = np.float64(bias[m])
        for k in range(channels):
            for r in range(k * taps, (k + 1) * taps):
                if pointwise:
                    folded.weight[r * outputs + m] = weight[m, r] * x.scale[k]
                    total += np.float64(weight[m, r]) * x.shift[k]
                else:
                    folded.weight[r * outputs + m] = weight[m, r]
        folded.bias[m] = total


@njit
def convolve_chunk(out, x, pixels, convolution, folded, moments, scratch):
    """One chunk of out = f(W im2col(x) + bias) * scale + shift: a `Convolution` of x with the constants `folded`.

    out: `Matrix` (outputs, pixels); pixels: the chunk's output pixels. x: `Chunk` (inputs, its pixels), whose scale, shift and
    activation apply only where it goes through im2col; else they are in `folded`. moments: `ChunkMoments` to be written, of what
    is stored, which then has no scale and no shift, for no channels if there is no batch norm; or None.
    """
    outputs, depth = convolution.outputs, convolution.inputs * convolution.inside.shape[0]
    lane_count = VECTOR_BYTES // out.data.itemsize
    weight = Matrix(folded.weight, 0, outputs)
    if moments is not None:
        moments.lanes[: 3 * outputs * lane_count] = 0
    for number in range(blocks_in(pixels, out.data.itemsize)):
        block = block_at(number, pixels, out.data.itemsize)
        first, columns = block.first, block.columns
        # x_columns (inputs * taps, pixels): x itself, or its im2col for this block.
        x_columns = columns_of(x, convolution.inputs, convolution, block, scratch.columns)
        # The outputs with an activation, and those without.
        middle = convolution.activated
        for start, stop, activation in ((0, middle, convolution.activation), (middle, outputs, NO_ACTIVATION)):
            if start < stop:
                # Whole vectors of pixels give their moments on the way; the columns of padding must not.
                whole = 0
                if moments is not None:
                    if moments.merged.shape[1] > 0:
                        whole = min(columns, pixels - first) // lane_count * lane_count
                    if whole > 0:
                        extent = Extent(start, stop, depth, first, whole)
                        product_with_moments(out, weight, x_columns, extent, Moments(folded.bias, moments.lanes), activation)
                # All that is left: the block, or its last pixels and the padding.
                if whole < columns:
                    extent = Extent(start, stop, depth, first + whole, columns - whole)
                    product(out, weight, x_columns, extent, Affine(folded.bias, folded.scale, folded.shift), activation)
    clear_tail(out, outputs, pixels, whole_vectors(pixels, out.data.itemsize))
    if moments is not None:
        rest = pixels % lane_count
        batch_norm.merge_lanes(moments.merged, moments.lanes, lane_count, pixels // lane_count)
        if rest > 0:
            batch_norm.add_moments(moments.merged, out, pixels - rest, rest)


@njit
def row_after(region, rows):
    """The memory after the first rows of a region of scratch, flat."""
    return region.data[region.at + rows * region.stride :]


@njit
def fold_weight(out, norm, x, parameters, convolution, pixels, folded, workspace):
    """The first stage of `forward`: writes `folded`."""
    # W (x' s + t) + b = (W s) x' + (b + W t) where nothing else is between: a scale and a shift for free.
    pointwise = is_pointwise(convolution.geometry) and not x.activation
    fold(folded, parameters, x, convolution.inside.shape[0], pointwise)


@njit
def convolve(out, norm, x, parameters, convolution, pixels, folded, workspace, place):
    """The second stage of `forward`: one chunk of out, and its moments."""
    chunk, scratch = place.piece, scratch_of(workspace, place.thread)
    depth = convolution.inputs * convolution.inside.shape[0]
    moments = ChunkMoments(workspace.by_chunk[chunk], row_after(scratch.columns, depth))
    convolve_chunk(matrix_of(out, chunk), chunk_of(x, chunk), pixels[chunk], convolution, folded, moments, scratch)


@njit
def normalise(out, norm, x, parameters, convolution, pixels, folded, workspace):
    """The last stage of `forward`: batch norm's statistics, if there is one."""
    if parameters.gamma.size > 0:
        count = batch_norm.merge_moments(norm, workspace.by_chunk, pixels)
        batch_norm.affine(norm, parameters)
        batch_norm.update_running(norm, count)


def _chunks(stored, *_) -> int:
    return len(stored.data)


def _sums_by_chunk(*arguments) -> np.ndarray:
    return arguments[-1].by_chunk


# The training forward pass of a basic block: forward(out, norm, x, parameters, convolution, pixels, folded, workspace).
#
# Writes out, `Rows` (M channels), and, if there is a batch norm, the `Norm`: the batch's mean and variance, scale and shift; and
# updates its running statistics. x: `Tensor` (K channels). pixels: int64 (chunks,), of each chunk of out. folded: `Folded`,
# written; its scale is 1, its shift 0. workspace.by_chunk: (chunks, 2, M or 0) float64, the moments of each chunk; its columns
# are followed by 3 vectors an output.
forward = Task(fold_weight, Chunked(convolve, _chunks), Gathered(_sums_by_chunk), normalise)


@njit
def write_dz(dz, e, convolution, coefficients, source, chunk, block, scratch):
    """dz = (a g + b e + c) f'(e) for a block of pixels; dz, e: `Matrix` (outputs, pixels); dz may be e itself.

    coefficients: (3, outputs) a, b, c. source: of g.
    """
    outputs = convolution.outputs
    # Rows of g that are a product, W^T dz of the next convolution, become dz in registers ...
    in_registers = 0 if source.added else source.produced
    if in_registers > 0:
        weight = Matrix(flat(source.weight), 0, source.produced)
        dz_columns = source_columns(source, chunk, block, scratch)  # (out_channels * taps, pixels)
        a, b, c = coefficients
        epilogue = NormBackward(scratch.zeros, a, b, c, e)
        # ... those with an activation, and those without.
        middle = min(convolution.activated, in_registers)
        for start, stop, activation in ((0, middle, convolution.activation), (middle, in_registers, NO_ACTIVATION)):
            if start < stop:
                extent = Extent(start, stop, source.weight.shape[0], block.first, block.columns)
                product_to_dz(dz, weight, dz_columns, extent, epilogue, activation)
    # The other rows of g are stored, or written out first.
    if in_registers < outputs:
        g = gradient_rows(in_registers, outputs, source, chunk, block, scratch)
        for m in range(in_registers, outputs):
            activation = convolution.activation if m < convolution.activated else NO_ACTIVATION
            batch_norm.dz_row(dz, g, e, m, coefficients, activation, block)
    clear_tail(dz, outputs, block.pixels, block.first + block.columns)


@njit
def backward_chunk(kept, e, source, x, convolution, coefficients, chunk, pixels, gradient, scratch):
    """One chunk of a basic block's backward: writes dz to `kept`, and the chunk's sums G and B to `gradient`.

    kept, e: `Matrix` (M, pixels); `kept` may be e, which has no readers left, or the stored gradient. With a stride of 0, dz is
    not kept. x: `Chunk` (K, pixels of the input). gradient: `Matrix` (M, (K + 1) * taps), written: G, (M, K *
    taps), and beside it B, (M, taps).
    """
    inputs, outputs, tap_count = convolution.inputs, convolution.outputs, convolution.inside.shape[0]
    depth = inputs * tap_count
    gradient.data[gradient.at : gradient.at + outputs * gradient.stride] = 0
    weight_sums, bias_sums = gradient, Matrix(gradient.data, gradient.at + depth, gradient.stride)
    # Without padding every tap lies inside everywhere: one sum of dz serves all.
    has_padding = convolution.geometry[PADDING_HEIGHT] + convolution.geometry[PADDING_WIDTH] > 0
    inside, bias_taps = Matrix(scratch.ones, 0, 0), 1
    if has_padding:
        inside, bias_taps = Matrix(flat(convolution.inside), 0, convolution.inside.shape[1]), tap_count
    for number in range(blocks_in(pixels, e.data.itemsize)):
        block = block_at(number, pixels, e.data.itemsize)
        # dz (M, pixels) = (a g + b e + c) f'(e), which is then in cache.
        dz = kept if kept.stride > 0 else of_block(scratch.gradient, block)
        write_dz(dz, e, convolution, coefficients, source, chunk, block, scratch)
        # x_columns (K * taps, pixels): of the input as it is stored, since scale and shift are applied to the sums
        # (`add_chunks`); after an activation they can't be.
        x_columns = columns_of(x if x.activation else as_stored(x, scratch), inputs, convolution, block, scratch.columns)
        # G += dz x_columns^T: (M, K * taps).
        weight_gradient(weight_sums, dz, x_columns, Extent(0, outputs, depth, block.first, block.columns))
        # B += dz inside^T: (M, taps). inside (taps, pixels) is 1 where a tap lies in the map.
        weight_gradient(bias_sums, dz, inside, Extent(0, outputs, bias_taps, block.first, block.columns))


@njit
def start_backward(e, gradients, source, x, convolution, parameters, norm, cut, workspace):
    """The first stage of `backward`: the coefficients of batch norm's backward, or those that leave g as it is."""
    if parameters.gamma.size > 0:
        batch_norm.backward_coefficients(gradients, norm, parameters, np.float64(cut.images * cut.map_pixels))
    else:
        coefficients = norm.coefficients
        coefficients[0] = 1
        coefficients[1:] = 0


@njit
def pass_back(e, gradients, source, x, convolution, parameters, norm, cut, workspace, place):
    """The second stage of `backward`: dz and the sums of one chunk."""
    chunk, chunk_gradients = place.piece, workspace.by_chunk
    stride = chunk_gradients.shape[2]
    gradient = Matrix(flat(chunk_gradients), chunk * convolution.outputs * stride, stride)
    kept = matrix_of(Rows(e.dz, e.dz_row), chunk)
    if not e.keep_dz:
        kept = Matrix(kept.data, kept.at, 0)
    backward_chunk(
        kept, matrix_of(e, chunk), source, chunk_of(x, chunk), convolution, norm.coefficients, chunk,
        pixels_of(cut, chunk), gradient, scratch_of(workspace, place.thread),
    )  # fmt: skip


@njit
def add_gradients(e, gradients, source, x, convolution, parameters, norm, cut, workspace, place):
    """The third stage of `backward`: a few rows of the gradients, as the sums of all chunks in their order."""
    for m in range(place.piece * ROWS, min((place.piece + 1) * ROWS, convolution.outputs)):
        add_chunks(workspace.total[m], gradients, m, workspace.by_chunk, x, convolution.geometry)


@njit
def finish_backward(e, gradients, source, x, convolution, parameters, norm, cut, workspace):
    """The last stage of `backward`: the sums that the backward of the input's batch norm needs."""
    total = workspace.total
    sums_of_input(x.sums, total, parameters.weight, convolution.inside.shape[0])


def _groups_of_rows(e, gradients, *_) -> int:
    return -(-len(gradients.bias) // ROWS)


# The backward pass of a basic block whose batch norm comes last, or has none; see the file's head:
# backward(e, gradients, source, x, convolution, parameters, norm, cut, workspace).
#
# e: `Output` (M channels). gradients: `Parameters`, written. source: of the gradient of the output. x: `Tensor` (K channels), the
# input, whose sums are written. norm: `Norm`, with the sums of this block's output; its coefficients are written. cut: of e.
# workspace.by_chunk: (chunks, M, (K + 1) * taps), the sums G and B of each chunk; workspace.total: (M, (K + 1) * taps).
backward = Task(
    start_backward,
    Chunked(pass_back, _chunks),
    Gathered(_sums_by_chunk),
    Shared(add_gradients, _groups_of_rows),
    finish_backward,
)


@njit
def add_chunks(total, gradients, m, chunk_gradients, x, geometry):
    """Row m of the gradients: `total` ((K + 1) * taps,) float64, G of the weight on the stored input and B of the bias tap by
    tap, and what follows from it, dW = s G + t B and db = B[centre]; all written.
    """
    taps = geometry[0] * geometry[1]
    depth = gradients.weight.shape[1]
    has_padding = geometry[PADDING_HEIGHT] + geometry[PADDING_WIDTH] > 0
    bias_taps = taps if has_padding else 1
    # This tap lies inside for every pixel, since the padding is less than half the kernel.
    centre = geometry[PADDING_HEIGHT] * geometry[1] + geometry[PADDING_WIDTH]
    total[:] = 0
    for chunk in range(chunk_gradients.shape[0]):
        for r in range(depth + bias_taps):
            total[r] += chunk_gradients[chunk, m, r]
    total[depth + bias_taps :] = total[depth]
    gradients.bias[m] = total[depth + centre]
    for k in range(depth // taps):
        for t in range(taps):
            r, inside_sum = k * taps + t, total[depth + t]
            gradients.weight[m, r] = total[r] if x.activation else x.scale[k] * total[r] + x.shift[k] * inside_sum


@njit
def sums_of_input(sums, total, weight, taps):
    """The row sums of the input's gradient g', sum g' and sum g' e', as sums (K, 2): of the sums G and B of all chunks, `total`
    (M, (K + 1) * taps).
    """
    depth = weight.shape[1]
    sums[:] = 0
    for m in range(weight.shape[0]):
        for k in range(depth // taps):
            for t in range(taps):
                r = k * taps + t
                sums[k, 0] += weight[m, r] * total[m, depth + t]
                sums[k, 1] += weight[m, r] * total[m, r]


@njit
def write_gradient(dx, source, cut, workspace, place):
    """One chunk of `input_gradient`."""
    chunk, rows, out = place.piece, dx.shape[1], matrix_of(Rows(dx, 0), place.piece)
    scratch, pixels = scratch_of(workspace, place.thread), pixels_of(cut, chunk)
    for number in range(blocks_in(pixels, dx.itemsize)):
        block = block_at(number, pixels, dx.itemsize)
        if source.sampled:
            # `spread` writes beyond the end of a block.
            g = gradient_rows(0, rows, source, chunk, block, scratch)
            for m in range(rows):
                to, at = out.at + m * out.stride + block.first, g.at + m * g.stride + block.first
                copy(out.data, to, g.data, at, block.columns)
        else:
            fill_gradient(out, 0, rows, source, chunk, block, scratch)
    clear_tail(out, rows, pixels, whole_vectors(pixels, dx.itemsize))


# input_gradient(dx, source, cut, workspace): the gradient that `source` describes, written to dx (chunks, K, stride).
input_gradient = Task(Chunked(write_gradient, lambda dx, *_: len(dx)))
