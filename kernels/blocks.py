"""Shared by the fused kernels: the iteration over a chunk in blocks of pixels, and the incoming gradient.

A fused kernel processes a chunk in blocks of `BLOCK` pixels, so that its intermediate results (im2col, the incoming gradient)
stay in scratch memory that fits in cache:

    for number in range(blocks_in(pixels, itemsize)):
        block = block_at(number, pixels, itemsize)
"""

from minisqx.kernels.activation import NO_ACTIVATION
from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.geometry import Taps
from minisqx.kernels.im2col import im2col
from minisqx.kernels.layout import CACHE_LINE
from minisqx.kernels.sampling import add_spread, spread
from minisqx.kernels.structures import BLOCK, SCRATCH_STRIDE, Affine, Block, Chunk, Extent, Matrix, Rows, Scratch
from minisqx.kernels.tiles.product import product
from minisqx.kernels.tiles.simd import flat


@njit
def images_of(cut, chunk):
    """Images of one chunk."""
    return min(cut.images_per_chunk, cut.images - chunk * cut.images_per_chunk)


@njit
def pixels_of(cut, chunk):
    """Pixels of all images of one chunk."""
    return images_of(cut, chunk) * cut.map_pixels


@njit
def whole_vectors(pixels, itemsize):
    """`pixels` rounded up to whole cache lines: the number of columns that a kernel writes."""
    line = CACHE_LINE // itemsize
    return (pixels + line - 1) // line * line


@njit
def blocks_in(pixels, itemsize):
    """The number of blocks of a chunk."""
    return (whole_vectors(pixels, itemsize) + BLOCK - 1) // BLOCK


@njit
def block_at(number, pixels, itemsize):
    """One block of a chunk; the last one ends with the last cache line that has a pixel."""
    first = number * BLOCK
    return Block(first, min(BLOCK, whole_vectors(pixels, itemsize) - first), pixels)


@njit
def matrix_of(rows, chunk):
    """One chunk of `Rows`, or of a `Tensor` as it is stored; its first row is the tensor's first one."""
    stride = rows.data.shape[2]
    return Matrix(flat(rows.data), (chunk * rows.data.shape[1] + rows.row) * stride, stride)


@njit
def chunk_of(tensor, chunk):
    """One chunk of a `Tensor`."""
    stored = matrix_of(tensor, chunk)
    return Chunk(stored.data, stored.at, stored.stride, flat(tensor.scale), flat(tensor.shift), tensor.activation)


@njit
def scratch_of(workspace, thread):
    """One thread's scratch."""
    memory, start = flat(workspace.memory), thread * workspace.memory.shape[1]
    return Scratch(
        Matrix(memory, start, SCRATCH_STRIDE),
        Matrix(memory, start + workspace.gradient, SCRATCH_STRIDE),
        Matrix(memory, start + workspace.columns, SCRATCH_STRIDE),
        flat(workspace.zeros),
        flat(workspace.ones),
    )


@njit
def of_block(region, block):
    """A region of a `Scratch` for a block: the `Matrix` whose column p is the chunk's pixel p."""
    return Matrix(region.data, region.at - block.first, region.stride)


@njit
def is_pointwise(geometry):
    """Whether im2col would only copy: a 1x1 kernel with stride 1. geometry: an array, as in `Taps`."""
    return geometry[0] * geometry[1] * geometry[2] * geometry[3] * geometry[4] * geometry[5] == 1


@njit
def clear_tail(matrix, rows, pixels, columns):
    """Zeroes the columns from `pixels` to `columns`: the padding of `layout`."""
    for m in range(rows):
        for p in range(matrix.at + m * matrix.stride + pixels, matrix.at + m * matrix.stride + columns):
            matrix.data[p] = 0


@njit
def copy(out, out_at, x, at, count):
    """out[out_at + p] = x[at + p] for 0 <= p < `count`. (For an assignment of slices, Numba compiles checks of shapes.)"""
    target, source = out[out_at : out_at + count], x[at : at + count]
    for p in range(count):
        target[p] = source[p]


@njit
def flip_taps(flipped, weight, taps):
    """(O, I, taps) to (O * taps, I) with the taps in reverse: the weight with which a transposed geometry gives the
    input's gradient.
    """
    outputs, inputs = weight.shape[0], weight.shape[1] // taps
    for m in range(outputs):
        for k in range(inputs):
            for t in range(taps):
                flipped[m * taps + taps - 1 - t, k] = weight[m, k * taps + t]


@njit
def select_taps(selected, weight, live, taps):
    """selected (O, I * live taps) = those taps of weight (O, I * taps). live: int64, their numbers."""
    for m in range(selected.shape[0]):
        for r in range(selected.shape[1]):
            selected[m, r] = weight[m, r // live.size * taps + live[r % live.size]]


@njit
def spread_taps(weight, selected, live, taps):
    """The inverse of `select_taps`; the other taps become 0."""
    for m in range(selected.shape[0]):
        for r in range(weight.shape[1]):
            weight[m, r] = 0
        for r in range(selected.shape[1]):
            weight[m, r // live.size * taps + live[r % live.size]] = selected[m, r]


@njit
def columns_of(x, channels, taps, block, scratch):
    """x as an operand of a product, `Matrix` (channels * taps, pixels): its im2col, made in `scratch` for a block; or x itself,
    where im2col would only copy. x: a `Chunk`, whose scale, shift and activation are applied; taps: a structure with those of
    `Taps` among its fields.
    """
    if is_pointwise(taps.geometry) and not x.activation:
        return Matrix(x.data, x.at, x.stride)
    im2col(scratch, x, channels, Taps(taps.geometry, taps.inside, taps.index), block)
    return of_block(scratch, block)


@njit
def as_stored(x, scratch):
    """A chunk without its scale, shift and activation; x: a `Matrix` or a `Chunk`."""
    return Chunk(x.data, x.at, x.stride, scratch.ones, scratch.zeros, NO_ACTIVATION)


@njit
def source_columns(source, chunk, block, scratch):
    """The matrix by which the source's weight is multiplied: dz, or its im2col for a block."""
    dz = as_stored(matrix_of(Rows(source.dz, source.dz_row), chunk), scratch)
    return columns_of(dz, source.weight.shape[0] // source.inside.shape[0], source, block, scratch.source)


@njit
def stored_rows(source, chunk):
    """One chunk of the rows of the incoming gradient that are stored."""
    return matrix_of(Rows(source.stored, source.stored_row), chunk)


@njit
def gradient_rows(start, rows, source, chunk, block, scratch):
    """Rows start : rows of a block of the incoming gradient, start 0 or `source.produced`, as a `Matrix` whose row m is row m of
    the gradient: the stored tensor itself if that is all they are, else scratch.
    """
    if start == source.produced and not source.added and not source.sampled:
        stored = stored_rows(source, chunk)
        return Matrix(stored.data, stored.at - start * stored.stride, stored.stride)
    g = of_block(scratch.gradient, block)
    fill_gradient(g, start, rows, source, chunk, block, scratch)
    return g


@njit
def fill_gradient(g, start, rows, source, chunk, block, scratch):
    """Writes rows start : rows of a block of the incoming gradient to the `Matrix` g.

    start: 0 or `source.produced`. Columns beyond the pixels get arbitrary finite values.
    """
    if start < source.produced:
        # g = W^T dz, the input's gradient of the convolution that comes next.
        weight = Matrix(flat(source.weight), 0, source.produced)
        extent = Extent(0, source.produced, source.weight.shape[0], block.first, block.columns)
        epilogue = Affine(scratch.zeros, scratch.ones, scratch.zeros)
        product(g, weight, source_columns(source, chunk, block, scratch), extent, epilogue, NO_ACTIVATION)
    stored = stored_rows(source, chunk)
    for m in range(source.produced, rows):
        to, at = g.at + m * g.stride + block.first, stored.at + (m - source.produced) * stored.stride
        if source.sampled:
            spread(g.data, to, stored.data, at, source.height, source.width, block)
        else:
            copy(g.data, to, stored.data, at + block.first, block.columns)
    if source.added:
        addend = matrix_of(Rows(source.addend, 0), chunk)
        for m in range(start, rows):
            to, at = g.at + m * g.stride + block.first, addend.at + m * addend.stride
            if source.sampled:
                add_spread(g.data, to, addend.data, at, source.height, source.width, block)
                continue
            at += block.first
            row, other = g.data[to : to + block.columns], addend.data[at : at + block.columns]
            for p in range(block.columns):
                row[p] += other[p]
