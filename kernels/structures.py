"""The structures that kernels take: what would otherwise be long lists of arrays, places and strides.

A batch of activations lies as chunks of matrices (`layout`). A kernel for a whole batch takes `Rows` and `Tensor`, whose data is
(chunks, channels or more, stride); what it calls for one chunk takes `Matrix` and `Chunk`, which are places in flat memory, so
that inference, whose tensors all lie in one flat array, calls the same.

Numba takes named tuples as they are, with two limits. A parallel loop takes no tuple in a tuple, so what such a loop reads is
flat: `Source` and `Convolution` have the fields of `im2col.Taps` among their own. And Numba drops what the body of a parallel
loop itself writes to an array in a tuple that a call returned, so such a body hands its matrices on to a function for one chunk.
"""

from typing import NamedTuple

import numpy as np


class Cut(NamedTuple):
    """The part of `layout.Layout` that kernels need. map_pixels: of one image's map."""

    images: int
    images_per_chunk: int
    map_pixels: int


class Rows(NamedTuple):
    """A stored tensor: rows row : row + channels of data (chunks, channels or more, stride)."""

    data: np.ndarray
    row: int


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

    columns is a multiple of a cache line, so the last block may reach beyond the pixels, into the padding. What a kernel makes
    of a block in its scratch is a `Matrix` whose column p is the chunk's pixel p, as that of a stored tensor.
    """

    first: int
    columns: int
    pixels: int


class Extent(NamedTuple):
    """What a product computes: rows start : stop of its output, of sums of `depth` terms, for the pixels first : first + columns,
    whole vectors. (A weight's gradient: elements (start : stop, depth), of sums over the pixels.)
    """

    start: int
    stop: int
    depth: int
    first: int
    columns: int


class Affine(NamedTuple):
    """A product's epilogue out = f(z) * scale + shift, z = bias + W x; all (rows,)."""

    bias: np.ndarray
    scale: np.ndarray
    shift: np.ndarray


class Moments(NamedTuple):
    """A product's epilogue out = f(z), z = bias + W x, which also gathers what each row's mean and variance follow from.

    bias: (rows,). lanes: flat (rows, 3, lanes), for each lane of a vector its first value, and the sums of the differences from
    that and of their squares; zero before the row's first vector.
    """

    bias: np.ndarray
    lanes: np.ndarray


class NormBackward(NamedTuple):
    """A product's epilogue out = (a z + b e + c) f'(e): the backward of batch norm and of f, z the gradient that comes in.

    bias: zeros. a, b, c: (rows,). e: the stored output of f; out may be e itself.
    """

    bias: np.ndarray
    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    e: Matrix


class Parameters(NamedTuple):
    """The parameters of a basic block, or their gradients: weight (M, K * taps), the others (M,); without batch norm gamma and
    beta are empty.
    """

    weight: np.ndarray
    bias: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray


EPSILON = 1e-5  # of batch norm: added to a variance


class Norm(NamedTuple):
    """A batch norm's statistics, all of M channels.

    mean, variance: float64, of the batch. scale, shift: what follows from them, y = e * scale + shift. sums: (M, 2) float64, sum
    g and sum g e, written by the backward of the layer that reads y.
    """

    mean: np.ndarray
    variance: np.ndarray
    running_mean: np.ndarray
    running_var: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    sums: np.ndarray


class Convolution(NamedTuple):
    """What a basic block computes of its input: a convolution of `inputs` to `outputs` channels, and an activation of the first
    `activated` outputs.

    geometry, inside, index: those of `im2col.Taps`.
    """

    geometry: np.ndarray
    inside: np.ndarray
    index: np.ndarray
    inputs: int
    outputs: int
    activation: int
    activated: int


class Activated(NamedTuple):
    """An activation, by its number, of the first `rows` rows of a tensor."""

    activation: int
    rows: int


class Folded(NamedTuple):
    """Constants as the forward product takes them: weight flat, input-major (inputs * taps, outputs); the others (outputs,)."""

    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    shift: np.ndarray


class Source(NamedTuple):
    """Where the gradient g of a tensor comes from, for its rows one after the other.

    The first `produced` rows are the product W^T dz of the next convolution, formed when they are needed: weight is
    (out_channels * taps, produced) with flipped taps, dz rows dz_row : dz_row + out_channels of (chunks, out_channels or more,
    stride); geometry, inside and index are the `im2col.Taps` of the transposed geometry. The other rows are read from `stored`
    (chunks, rows - produced or more, stride), from stored_row on. Where `added`, `addend` (chunks, rows, stride) is added to
    all. Where `sampled`, stored and addend hold only the samples (`sampling`) of a map of height x width: all other pixels are
    zero.
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
    """Whether only the samples (`sampling`) of a map of height x width are read."""

    sampled: bool
    height: int
    width: int


class Workspace(NamedTuple):
    """What a kernel writes and reads besides its operands.

    memory: (threads, elements), a scratch for each thread, in which the gradient and the columns begin at these elements (see
    `Scratch`). by_chunk: sums of each chunk, whose shape the kernel says. zeros, ones: at least as long as a row of any
    activation, as a block, and as the largest number of channels.
    """

    memory: np.ndarray
    gradient: int
    columns: int
    by_chunk: np.ndarray
    zeros: np.ndarray
    ones: np.ndarray


class Scratch(NamedTuple):
    """One thread's scratch, whose rows are SCRATCH_STRIDE long, and the constants of its `Workspace`. Its column 0 is the first
    of a block (`blocks.of_block`).

    source: im2col of the dz from which the gradient that comes in is formed. gradient: that gradient. columns: im2col of the
    input.
    """

    source: Matrix
    gradient: Matrix
    columns: Matrix
    zeros: np.ndarray
    ones: np.ndarray


class ChunkMoments(NamedTuple):
    """Where a chunk's moments go: merged (2, outputs) float64, mean and sum of squared deviations; lanes: flat scratch, 3 vectors
    an output.
    """

    merged: np.ndarray
    lanes: np.ndarray


class Program(NamedTuple):
    """A network frozen for inference (`inference`): steps (steps, COLUMNS) int64 and the flat arrays that they point into."""

    steps: np.ndarray
    weights: np.ndarray
    inside: np.ndarray
    index: np.ndarray
    zeros: np.ndarray
    ones: np.ndarray


class Classifier(NamedTuple):
    """weight (classes, C) and bias (classes,); both empty where the averages are the logits."""

    weight: np.ndarray
    bias: np.ndarray
