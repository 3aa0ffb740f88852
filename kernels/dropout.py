"""Dropout: each element is zeroed with probability p in training and the others are divided by 1 - p.

Whether element i of image n is kept is drawn from counters (seed and step in `key`, n, i), so neither threads nor the
cut into chunks nor the order of calls change it, and backward draws the same mask again instead of storing it.

Source: Srivastava et al. 2014, in its inverted form, as PyTorch's.
"""

import numpy as np
from numba import prange

from minisqx.kernels.blocks import clear_tail, images_of, whole_vectors
from minisqx.kernels.counters import draw
from minisqx.kernels.jit import njit


@njit(parallel=True)
def apply(out, x, row, scale, shift, probability, key, cut, map_pixels):
    """out = mask * (x * scale + shift) / (1 - probability) for rows `row` on of x (chunks, rows, stride).

    key: of the stream (seed, DROPOUT, step). Forward with the input's deferred scale and shift (rows,); backward on the
    gradient, with scale 1 and shift 0.
    """
    rows, stride = out.shape[1], out.shape[2]
    out_flat, x_flat = out.reshape(out.size), x.reshape(x.size)
    # An element is kept where its 53 random bits, as a number in [0, 1), are not below the probability.
    threshold = np.uint64(np.ceil(probability * 9007199254740992.0))
    factor = out.dtype.type(1 / (1 - probability))
    for chunk_ in prange(out.shape[0]):
        chunk = np.int64(chunk_)
        images = images_of(cut, chunk)
        at = chunk * rows * stride
        for m in range(rows):
            for i in range(images):
                image_key = draw(key, chunk * cut.images_per_chunk + i)
                for p in range(map_pixels):
                    column = i * map_pixels + p
                    value = x_flat[(chunk * x.shape[1] + row + m) * stride + column] * scale[m] + shift[m]
                    kept = (draw(image_key, m * map_pixels + p) >> np.uint64(11)) >= threshold
                    out_flat[at + m * stride + column] = value * factor if kept else 0
        pixels = images * map_pixels
        clear_tail(out_flat, at, stride, rows, pixels, whole_vectors(pixels, out.itemsize))
