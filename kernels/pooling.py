"""Average over the whole map: features[n, k] = mean_p y[k, p of image n], y = f(x * scale + shift), f a deferred activation.

The mean of x * scale + shift is the mean of x, scaled and shifted: without an activation the pass reads x once and normalises k
numbers an image. Backward spreads dfeatures / pixels over the map and takes the row sums (sum g, sum g x) that batch norm's
backward needs.
"""

import numpy as np

from minisqx.kernels.blocks import chunk_of, clear_tail, images_of, matrix_of, scratch_of, whole_vectors
from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.compiler.tasks import Shared, Task
from minisqx.kernels.residual import load_row
from minisqx.kernels.structures import Block, Rows
from minisqx.kernels.tiles.sums import total

CHANNELS = 4  # of which a thread computes the gradient at a time


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
forward = Task(Shared(average_chunk, lambda features, x, *_: len(x.data)))


@njit
def spread(dx, dfeatures, x, cut, place):
    """A few channels of `backward`, in all chunks."""
    map_pixels, sums = cut.map_pixels, x.sums
    for k in range(place.piece * CHANNELS, min((place.piece + 1) * CHANNELS, dx.shape[1])):
        sums[k] = 0
        for chunk in range(dx.shape[0]):
            images = images_of(cut, chunk)
            for i in range(images):
                g = dfeatures[chunk * cut.images_per_chunk + i, k] / map_pixels
                dx[chunk, k, i * map_pixels : (i + 1) * map_pixels] = g
                sums[k, 0] += np.float64(g) * map_pixels
                sums[k, 1] += g * total(x.data[chunk, x.row + k], i * map_pixels, map_pixels)
            pixels = images * map_pixels
            clear_tail(matrix_of(Rows(dx, k), chunk), 1, pixels, whole_vectors(pixels, dx.itemsize))


# backward(dx, dfeatures, x, cut): dx (chunks, C, stride), the gradient of y; the sums of x, a `Tensor`, are written: sum dx, and
# sum dx times the stored x.
backward = Task(Shared(spread, lambda dx, *_: -(-dx.shape[1] // CHANNELS)))
