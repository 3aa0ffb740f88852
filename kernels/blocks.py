"""What the fused kernels share: the walk over a chunk in blocks of pixels, and where a gradient comes from.

A fused kernel passes over a chunk in blocks of `BLOCK` pixels, so that everything it makes on the way (im2col, the
incoming gradient) stays in a scratch that fits in cache.
"""

from typing import NamedTuple

import numpy as np

from minisqx.kernels.im2col import im2col
from minisqx.kernels.jit import njit
from minisqx.kernels.layout import CACHE_LINE
from minisqx.kernels.product import product
from minisqx.kernels.sampling import add_spread, spread

BLOCK = 2048
# Rows of the scratch are one cache line longer than a block, so that they don't all fall on the same cache sets.
SCRATCH_STRIDE = BLOCK + 16


class Cut(NamedTuple):
    """The part of `layout.Layout` that kernels need."""

    images: int
    images_per_chunk: int


class Constants(NamedTuple):
    """Rows of 0 and of 1, each at least as long as a row of any activation and as the largest number of channels."""

    zeros: np.ndarray
    ones: np.ndarray


class Source(NamedTuple):
    """Where the gradient g of a tensor comes from, for its rows one after the other.

    The first `produced` rows are the product of the next convolution's weight and of its dz, formed when they are needed: weight
    is (out_channels * taps, produced) with flipped taps, dz (chunks, out_channels or more, stride), of which the rows `dz_row`
    on are meant, geometry, inside and index the `Taps` of the transposed one. The other rows are read from `stored` (chunks, rows
    - produced or more, stride), from `stored_row` on. Where `added` is true, `addend` (chunks, rows, stride) is added to all.
    Where `sampled` is true, stored and addend hold only the samples (`kernels.sampling`) of a map of height x width, since all
    else is zero.
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


@njit
def images_of(cut, chunk):
    """Images of one chunk."""
    return min(cut.images_per_chunk, cut.images - chunk * cut.images_per_chunk)


@njit
def whole_vectors(pixels, itemsize):
    """`pixels` rounded up to whole cache lines: the columns that a kernel writes."""
    line = CACHE_LINE // itemsize
    return (pixels + line - 1) // line * line


@njit
def is_pointwise(geometry):
    """Whether im2col would only copy: a 1x1 kernel with stride 1. geometry: `Geometry.array`."""
    return geometry[0] * geometry[1] * geometry[2] * geometry[3] * geometry[4] * geometry[5] == 1


@njit
def clear_tail(data, at, stride, rows, pixels, columns):
    """Zeroes the columns from `pixels` to `columns` of a chunk's matrix: the padding of `layout`."""
    for m in range(rows):
        for p in range(at + m * stride + pixels, at + m * stride + columns):
            data[p] = 0


@njit
def copy(out, out_at, x, at, count):
    """out[out_at + p] = x[at + p] for 0 <= p < `count`. (For slices Numba would compile what NumPy does when shapes differ.)"""
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
def source_operand(source, chunk, first, columns, pixels, constants, scratch):
    """(flat array, stride of its rows): what the source's weight is multiplied with: its dz, or the im2col of that in
    `scratch`.
    """
    dz = source.dz.reshape(source.dz.size)
    stride, taps = source.dz.shape[2], source.inside.shape[0]
    at = (chunk * source.dz.shape[1] + source.dz_row) * stride
    if is_pointwise(source.geometry):
        return dz[at + first :], stride
    im2col(
        scratch, SCRATCH_STRIDE, dz[at:], stride, source.weight.shape[0] // taps, source.geometry,
        source.inside.reshape(source.inside.size), source.index.reshape(source.index.size), source.inside.shape[1],
        first, columns, pixels, constants.ones, constants.zeros,
    )  # fmt: skip
    return scratch, SCRATCH_STRIDE


@njit
def fill_gradient(g, start, rows, source, chunk, first, columns, pixels, constants, scratch):
    """Writes the gradient of pixels `first` to `first + columns` of a chunk into `g`, flat with rows of SCRATCH_STRIDE.

    start: the first row that is wanted, 0 or `source.produced`. `columns` is a multiple of a vector; columns beyond
    `pixels` have any finite value. scratch: flat, for the im2col of the source.
    """
    if start < source.produced:
        operand, operand_stride = source_operand(source, chunk, first, columns, pixels, constants, scratch)
        weight = source.weight.reshape(source.weight.size)
        product(
            g, SCRATCH_STRIDE, weight, source.produced, operand, operand_stride,
            source.weight.shape[0], columns, source.produced, 0, constants.zeros, constants.ones, constants.zeros,
        )  # fmt: skip
    stored, addend = source.stored.reshape(source.stored.size), source.addend.reshape(source.addend.size)
    for m in range(source.produced, rows):
        at = (chunk * source.stored.shape[1] + source.stored_row + m - source.produced) * source.stored.shape[2]
        if source.sampled:
            spread(g, m * SCRATCH_STRIDE, stored, at, source.height, source.width, first, columns, pixels)
        else:
            copy(g, m * SCRATCH_STRIDE, stored, at + first, columns)
    if source.added:
        for m in range(start, rows):
            at = (chunk * source.addend.shape[1] + m) * source.addend.shape[2]
            if source.sampled:
                add_spread(g, m * SCRATCH_STRIDE, addend, at, source.height, source.width, first, columns, pixels)
                continue
            at += first
            row, other = g[m * SCRATCH_STRIDE : m * SCRATCH_STRIDE + columns], addend[at : at + columns]
            for p in range(columns):
                row[p] += other[p]
