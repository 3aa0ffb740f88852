"""The structures that kernels take, in place of long lists of arrays, offsets and strides.

A batch of activations is stored as one matrix per chunk (`layout`). A kernel for a whole batch takes `Rows` and `Tensor`, whose
data is (chunks, channels or more, stride). The functions it calls for one chunk take `Matrix` and `Chunk`, which are offsets into
flat memory, so that inference, whose tensors share one flat array, can call the same functions.
"""

from typing import NamedTuple

import numpy as np


class Place(NamedTuple):
    """Which piece of a task's stage (`compiler/tasks.py`) a call computes, and the number of the thread that it runs on."""

    piece: int
    thread: int


class Cut(NamedTuple):
    """The part of `layout.Layout` that kernels need. map_pixels: pixels of one image's map."""

    images: int
    images_per_chunk: int
    map_pixels: int


class Rows(NamedTuple):
    """A stored tensor: rows row : row + channels of data (chunks, channels or more, stride)."""

    data: np.ndarray
    row: int


class Output(NamedTuple):
    """The stored output of a basic block, `Rows`, at its backward, and the rows in which dz is kept if keep_dz, which may be the
    same.
    """

    data: np.ndarray
    row: int
    dz: np.ndarray
    dz_row: int
    keep_dz: bool


class Tensor(NamedTuple):
    """A tensor as its reader sees it: y = f(x * scale + shift), x rows row : row + channels of data (chunks, channels or more,
    stride).

    scale, shift: (channels,). activation: the number of f. sums: (channels, 2) float64, written by the reader's backward: sum g
    and sum g x, g = dL/d(x * scale + shift).
    """

    data: np.ndarray
    row: int
    scale: np.ndarray
    shift: np.ndarray
    activation: int
    sums: np.ndarray


class Matrix(NamedTuple):
    """Element [i, p] is data[at + i * stride + p] of a flat array: an operand of a product, or one chunk of `Rows`."""

    data: np.ndarray
    at: int
    stride: int


class Chunk(NamedTuple):
    """One chunk of a `Tensor`: element [c, p] is f(data[at + c * stride + p] * scale[c] + shift[c]), data flat."""

    data: np.ndarray
    at: int
    stride: int
    scale: np.ndarray
    shift: np.ndarray
    activation: int


# Pixels that a fused kernel works on at a time (`blocks`). Rows of its scratch are one cache line longer, so that they don't all
# fall on the same cache sets.
BLOCK = 2048
SCRATCH_STRIDE = BLOCK + 16


class Block(NamedTuple):
    """Pixels first : first + columns of a chunk that has `pixels` pixels, at most `BLOCK` columns.

    columns is a multiple of a cache line, so the last block may extend into the padding. Intermediate results for a block are a
    `Matrix` in scratch whose column p is the chunk's pixel p, as in a stored tensor.
    """

    first: int
    columns: int
    pixels: int


class Extent(NamedTuple):
    """The range of a product: rows start : stop of its output, for the pixels first : first + columns (whole vectors), as sums of
    `depth` terms. For a weight's gradient: elements (start : stop, depth), as sums over these pixels.
    """

    start: int
    stop: int
    depth: int
    first: int
    columns: int


class Windows(NamedTuple):
    """One chunk of a convolution's input, data as in `Matrix`, for a kernel without stride and padding.

    index: int32, that of `im2col.Taps`: its element t * index_stride is the pixel under tap t of the first output pixel. vectors:
    in a row of an output's map.
    """

    data: np.ndarray
    at: int
    stride: int
    index: np.ndarray
    index_stride: int
    channels: int
    taps: int
    in_height: int
    in_width: int
    out_height: int
    out_width: int
    vectors: int


class Maps(NamedTuple):
    """One chunk of a tensor in flat memory, `channels last`: channel c of pixel (y, x) of image n is element
    at + n * image + y * row + x * pixel + c * channel.
    """

    data: np.ndarray
    at: int
    image: int
    row: int
    pixel: int
    channel: int


class Affine(NamedTuple):
    """A product's epilogue out = f(z) * scale + shift, z = bias + W x; all (rows,)."""

    bias: np.ndarray
    scale: np.ndarray
    shift: np.ndarray


class Moments(NamedTuple):
    """A product's epilogue out = f(z), z = bias + W x, which also accumulates the moments of each row.

    bias: (rows,). lanes: flat (rows, 3, lanes), for each lane of a vector its first value, and the sums of the differences from
    it and of their squares; zero before the row's first vector.
    """

    bias: np.ndarray
    lanes: np.ndarray


class NormBackward(NamedTuple):
    """A product's epilogue out = (a z + b e + c) f'(e): the backward of batch norm and of f, z the incoming gradient.

    bias: zeros. a, b, c: (rows,). e: the stored output of f; out may be e itself.
    """

    bias: np.ndarray
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    e: Matrix


class NormActivationBackward(NamedTuple):
    """A product's epilogue ds = z f'(y), y = f(e scale + shift): the backward of an f that follows a batch norm.

    z is the incoming gradient. bias: zeros. scale, shift: (rows,). e: what batch norm reads. lanes: flat (rows, 2, lanes), to
    which the sums of ds and of ds e are added for each lane of a vector.
    """

    bias: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    e: Matrix
    lanes: np.ndarray


class Parameters(NamedTuple):
    """The parameters of a basic block, or their gradients: weight (M, K * taps), the others (M,), gamma and beta empty without
    batch norm.
    """

    weight: np.ndarray
    bias: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray


EPSILON = 1e-5  # of batch norm: added to a variance


class Norm(NamedTuple):
    """The statistics of a batch norm with M channels, all (M,) but sums and coefficients.

    mean, variance: float64, of the batch. scale, shift: computed from these, y = e * scale + shift. sums: (M, 2) float64, sum g
    and sum g e, written by the backward of the layer that reads y. coefficients: (3, M), a, b and c of `batch_norm`, written by
    this layer's backward.
    """

    mean: np.ndarray
    variance: np.ndarray
    running_mean: np.ndarray
    running_var: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    sums: np.ndarray
    coefficients: np.ndarray


class Convolution(NamedTuple):
    """A convolution from `inputs` to `outputs` channels, with an activation on the first `activated` outputs.

    geometry, inside, index: those of `im2col.Taps`. activation: its number.
    """

    geometry: np.ndarray
    inside: np.ndarray
    index: np.ndarray
    inputs: int
    outputs: int
    activation: int
    activated: int


class Activated(NamedTuple):
    """An activation, by its number, on the first `rows` rows of a tensor."""

    activation: int
    rows: int


class Folded(NamedTuple):
    """The constants of the forward product: weight flat, input-major (inputs * taps, outputs); the others (outputs,)."""

    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    shift: np.ndarray


class Source(NamedTuple):
    """The gradient g of a tensor, in the form from which kernels compute it.

    The first `produced` rows are the product W^T dz of the next convolution, computed when needed: weight is (out_channels *
    taps, produced) with flipped taps, dz is rows dz_row : dz_row + out_channels of (chunks, out_channels or more, stride);
    geometry, inside and index are the `im2col.Taps` of the transposed geometry. The other rows are read from `stored` (chunks,
    rows - produced or more, stride), from stored_row on. If `added`, `addend` (chunks, rows, stride) is added to all rows. If
    `sampled`, stored and addend hold only the samples (`sampling`) of maps of height x width, and all other pixels are zero.
    """

    produced: int
    weight: np.ndarray
    dz: np.ndarray
    dz_row: int
    geometry: np.ndarray
    inside: np.ndarray
    index: np.ndarray
    stored: np.ndarray
    stored_row: int
    added: bool
    addend: np.ndarray
    sampled: bool
    height: int
    width: int


class Sampling(NamedTuple):
    """Whether only the samples (`sampling`) of maps of height x width are read."""

    sampled: bool
    height: int
    width: int


class Workspace(NamedTuple):
    """Memory that a kernel uses besides its operands.

    memory: (threads, elements), scratch for each thread. gradient, columns: offsets of these regions in it (see `Scratch`).
    by_chunk: sums for each chunk, with a shape that the kernel defines; total: sums over all chunks, float64. zeros, ones: at
    least as long as a row of any activation, a block, and the largest number of channels.
    """

    memory: np.ndarray
    gradient: int
    columns: int
    by_chunk: np.ndarray
    total: np.ndarray
    zeros: np.ndarray
    ones: np.ndarray


class Scratch(NamedTuple):
    """One thread's scratch, with rows of SCRATCH_STRIDE elements, and the constants of its `Workspace`. Column 0 is the first
    pixel of a block (`blocks.of_block`).

    source: im2col of the dz of which the incoming gradient is a product. gradient: the incoming gradient. columns: im2col of the
    input.
    """

    source: Matrix
    gradient: Matrix
    columns: Matrix
    zeros: np.ndarray
    ones: np.ndarray


class ChunkMoments(NamedTuple):
    """Outputs for the moments of a chunk. merged: (2, outputs) float64, mean and sum of squared deviations. lanes: flat scratch,
    3 vectors per output.
    """

    merged: np.ndarray
    lanes: np.ndarray


class Program(NamedTuple):
    """A network frozen for inference (`inference`): steps (steps, COLUMNS) int64, and the flat arrays into which they point."""

    steps: np.ndarray
    weights: np.ndarray
    inside: np.ndarray
    index: np.ndarray
    zeros: np.ndarray
    ones: np.ndarray


class Classifier(NamedTuple):
    """The last linear layer: weight (classes, C) and bias (classes,); both empty if the averages are the logits."""

    weight: np.ndarray
    bias: np.ndarray
