"""Max pooling: the largest of every window, and where it was. A window that reaches beyond the map counts what lies inside.

    out[q] = max of x over q's window;  dx[p] = sum of g[q] over the windows q whose largest was p

Of equal values the first counts, row by row, and a NaN is larger than everything: as in PyTorch. Cost: one comparison for every
pixel of every window forward, one addition for every window backward.
"""

import numpy as np
from numba import prange

from minisqx.kernels.blocks import clear_tail, images_of, whole_vectors
from minisqx.kernels.jit import njit


@njit
def pool_chunk(
    out, out_at, out_stride, rows, place, x, x_at, x_stride, images, height, width, out_height, out_width, kernel, stride,
):  # fmt: skip
    """One chunk, flat: maps of height x width at x[x_at:] to out_height x out_width at out[out_at:].

    place: flat from its own first element on, as `out`: the pixel of x's row that was the largest; or None.
    """
    for m in range(rows):
        for image in range(images):
            for y in range(out_height):
                for column in range(out_width):
                    first = image * height * width + y * stride * width + column * stride
                    largest, largest_at = x[x_at + m * x_stride + first], first
                    for i in range(min(kernel, height - y * stride)):
                        for j in range(min(kernel, width - column * stride)):
                            at = first + i * width + j
                            value = x[x_at + m * x_stride + at]
                            if value > largest or value != value:
                                largest, largest_at = value, at
                    q = m * out_stride + (image * out_height + y) * out_width + column
                    out[out_at + q] = largest
                    if place is not None:
                        place[q] = largest_at
    pixels = images * out_height * out_width
    clear_tail(out, out_at, out_stride, rows, pixels, whole_vectors(pixels, out.itemsize))


@njit(parallel=True)
def forward(out, place, x, x_row, cut, height, width, out_height, out_width, kernel, stride):
    """out (chunks, rows, stride) of rows `x_row` on of x (chunks, rows or more, stride); place: int32, of out's shape."""
    rows, out_stride, x_stride = out.shape[1], out.shape[2], x.shape[2]
    out_flat, x_flat = out.reshape(out.size), x.reshape(x.size)
    for chunk_ in prange(out.shape[0]):
        chunk = np.int64(chunk_)
        pool_chunk(
            out_flat, chunk * rows * out_stride, out_stride, rows, place[chunk].reshape(rows * out_stride),
            x_flat, (chunk * x.shape[1] + x_row) * x_stride, x_stride,
            images_of(cut, chunk), height, width, out_height, out_width, kernel, stride,
        )  # fmt: skip


@njit(parallel=True)
def backward(dx, g, place, cut, map_pixels, pooled_pixels):
    """dx (chunks, rows, stride) from g, of the pooled map, and `place`, both (chunks, rows, its stride)."""
    rows = dx.shape[1]
    for chunk_ in prange(dx.shape[0]):
        chunk = np.int64(chunk_)
        images = images_of(cut, chunk)
        columns = whole_vectors(images * map_pixels, dx.itemsize)
        for m in range(rows):
            row, from_row, places = dx[chunk, m], g[chunk, m], place[chunk, m]
            for p in range(columns):
                row[p] = 0
            for q in range(images * pooled_pixels):
                row[places[q]] += from_row[q]
