"""Average over the whole map: features[n, k] = mean_p y[k, p of image n], y = x * scale + shift (then a deferred activation).

The mean of y is the mean of x, scaled and shifted: the pass reads x once and normalises k numbers an image. Backward spreads
dfeatures / pixels over the map and takes the row sums (sum g, sum g x) that batch norm's backward needs.
"""

import numpy as np

from minisqx.kernels.blocks import clear_tail, images_of, whole_vectors
from minisqx.kernels.jit import njit
from minisqx.kernels.residual import load_row
from minisqx.kernels.sums import total


@njit
def average(features, x, chunk, first_image, images, map_pixels, scale, shift, activation, scratch):
    """features (N, C) of one chunk of x (chunks, C, stride). activation: the kind. scratch: flat, a row long."""
    channels, stride = x.shape[1], x.shape[2]
    x_flat = x.reshape(x.size)
    columns = whole_vectors(images * map_pixels, x.itemsize)
    for k in range(channels):
        at = (chunk * channels + k) * stride
        row = x_flat[at : at + columns]
        if activation:
            load_row(scratch, 0, x_flat, at, columns, scale[k], shift[k], activation)
            row = scratch[:columns]
        for i in range(images):
            mean = total(row, i * map_pixels, map_pixels) / map_pixels
            features[first_image + i, k] = mean if activation else mean * scale[k] + shift[k]


@njit
def forward(features, x, cut, map_pixels, scale, shift, activation, workspace):
    """features (N, C): the mean of every map of x (chunks, C, stride)."""
    for chunk in range(x.shape[0]):
        first_image = chunk * cut.images_per_chunk
        average(features, x, chunk, first_image, images_of(cut, chunk), map_pixels, scale, shift, activation, workspace[0])


@njit
def backward(dx, sums, dfeatures, x, cut, map_pixels):
    """dx (chunks, C, stride): the gradient of y; sums (2, C) float64: sum dx, sum dx times the stored x."""
    channels, stride = dx.shape[1], dx.shape[2]
    dx_flat = dx.reshape(dx.size)
    sums[:] = 0
    for chunk in range(dx.shape[0]):
        images = images_of(cut, chunk)
        for k in range(channels):
            for i in range(images):
                g = dfeatures[chunk * cut.images_per_chunk + i, k] / map_pixels
                dx[chunk, k, i * map_pixels : (i + 1) * map_pixels] = g
                sums[0, k] += np.float64(g) * map_pixels
                sums[1, k] += g * total(x[chunk, k], i * map_pixels, map_pixels)
        pixels = images * map_pixels
        clear_tail(dx_flat, chunk * channels * stride, stride, channels, pixels, whole_vectors(pixels, dx.itemsize))
