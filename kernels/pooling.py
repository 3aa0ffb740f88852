"""Average over the whole map: features[n, k] = mean_p y[k, p of image n], y = f(x * scale + shift), f a deferred activation.

The mean of x * scale + shift is the mean of x, scaled and shifted: without an activation the pass reads x once and normalises k
numbers an image. Backward spreads dfeatures / pixels over the map and takes the row sums (sum g, sum g x) that batch norm's
backward needs.
"""

import numpy as np

from minisqx.kernels.blocks import chunk_of, clear_tail, images_of, matrix_of, scratch_of, whole_vectors
from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.compiler.tasks import Chunked, Gathered, Task
from minisqx.kernels.residual import load_row
from minisqx.kernels.structures import Block, Rows
from minisqx.kernels.tiles.sums import total


@njit
def average(features, x, first_image, images, map_pixels, scratch):
    """Rows `first_image` on of features (N, C): of a chunk of `images` images. x: `Chunk` (C, pixels). scratch: a `Matrix` of
    one row.
    """
    pixels = images * map_pixels
    row = Block(0, whole_vectors(pixels, x.data.itemsize), pixels)  # all of it at once: a sum may cross a block's end
    for k in range(features.shape[1]):
        values, at = x.data, x.at + k * x.stride
        if x.activation:
            load_row(scratch.data, scratch.at, x, k, row)
            values, at = scratch.data, scratch.at
        for i in range(images):
            mean = total(values, at + i * map_pixels, map_pixels) / map_pixels
            features[first_image + i, k] = mean if x.activation else mean * x.scale[k] + x.shift[k]


@njit
def average_chunk(features, x, cut, workspace, place):
    """One chunk of `forward`."""
    chunk = place.piece
    images, first_image, scratch = images_of(cut, chunk), chunk * cut.images_per_chunk, scratch_of(workspace, place.thread)
    average(features, chunk_of(x, chunk), first_image, images, cut.map_pixels, scratch.columns)


# forward(features, x, cut, workspace): features (N, C), the mean of every map of x, a `Tensor`. workspace.columns: one row.
forward = Task(
    Chunked(average_chunk, lambda features, x, *_: len(x.data)),
    Gathered(lambda features, *_: features, lambda features, x, cut, _: cut.images_per_chunk),
)


@njit
def spread(dx, dfeatures, x, totals, cut, place):
    """The first stage of `backward`: one chunk of dx, and the totals of its images."""
    chunk, map_pixels = place.piece, cut.map_pixels
    first_image, images = chunk * cut.images_per_chunk, images_of(cut, chunk)
    pixels = images * map_pixels
    for k in range(dx.shape[1]):
        for i in range(images):
            dx[chunk, k, i * map_pixels : (i + 1) * map_pixels] = dfeatures[first_image + i, k] / map_pixels
            totals[first_image + i, k] = total(x.data[chunk, x.row + k], i * map_pixels, map_pixels)
    clear_tail(matrix_of(Rows(dx, 0), chunk), dx.shape[1], pixels, whole_vectors(pixels, dx.itemsize))


@njit
def add_sums(dx, dfeatures, x, totals, cut):
    """The last stage of `backward`: the sums of all images, in their order."""
    map_pixels, sums = cut.map_pixels, x.sums
    sums[:] = 0
    for image in range(cut.images):
        for k in range(dx.shape[1]):
            g = dfeatures[image, k] / map_pixels
            sums[k, 0] += np.float64(g) * map_pixels
            sums[k, 1] += g * totals[image, k]


# backward(dx, dfeatures, x, totals, cut): dx (chunks, C, stride), the gradient of y; the sums of x, a `Tensor`, are written: sum
# dx, and sum dx times the stored x. totals: (N, C) float64, of each map as it is stored; written.
backward = Task(
    Chunked(spread, lambda dx, *_: len(dx)),
    Gathered(lambda dx, dfeatures, x, totals, cut: totals, lambda *arguments: arguments[-1].images_per_chunk),
    add_sums,
)
