"""Dropout: each element is zeroed with probability p in training and the others are divided by 1 - p.

Whether element i of image n is kept is drawn from counters (seed and step in `key`, n, i), so neither threads nor the
cut into chunks nor the order of calls change it, and backward draws the same mask again instead of storing it.

Source: Srivastava et al. 2014, in its inverted form, as PyTorch's.
"""

import numpy as np

from minisqx.kernels.blocks import chunk_of, clear_tail, images_of, matrix_of, whole_vectors
from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.compiler.tasks import Chunked, Task
from minisqx.kernels.counters import draw
from minisqx.kernels.structures import Rows


@njit
def mask_chunk(out, x, rows, images, key, first_image, probability, map_pixels):
    """One chunk of `apply`: out `Matrix`, x `Chunk`, `images` images from `first_image` on."""
    # An element is kept where its 53 random bits, as a number in [0, 1), are not below the probability.
    threshold = np.uint64(np.ceil(probability * 9007199254740992.0))
    factor = out.data.dtype.type(1 / (1 - probability))
    for m in range(rows):
        for i in range(images):
            image_key = draw(key, first_image + i)
            for p in range(map_pixels):
                column = i * map_pixels + p
                value = x.data[x.at + m * x.stride + column] * x.scale[m] + x.shift[m]
                kept = (draw(image_key, m * map_pixels + p) >> np.uint64(11)) >= threshold
                out.data[out.at + m * out.stride + column] = value * factor if kept else 0
    pixels = images * map_pixels
    clear_tail(out, rows, pixels, whole_vectors(pixels, out.data.itemsize))


@njit
def mask(out, x, probability, key, cut, place):
    """One chunk of `apply`."""
    chunk = place.piece
    masked, first_image, images = matrix_of(Rows(out, 0), chunk), chunk * cut.images_per_chunk, images_of(cut, chunk)
    mask_chunk(masked, chunk_of(x, chunk), out.shape[1], images, key[0], first_image, probability, cut.map_pixels)


# apply(out, x, probability, key, cut): out (chunks, rows, stride) = mask * (x * scale + shift) / (1 - probability).
#
# x: `Tensor` of as many channels. key: uint64 (1,), of the stream (seed, DROPOUT, step). Forward with the input's deferred scale
# and shift; backward on the gradient, with scale 1 and shift 0.
apply = Task(Chunked(mask, lambda out, *_: len(out)))
