"""Resizing an image with a bicubic filter, one axis after the other, in exact arithmetic.

    out[i, j, c] = sum_y sum_x v[i, y] h[j, x] pixels[y, x, c], rounded to the nearest integer and clipped to 0 .. 255

v and h are Keys' cubic convolution with a = -1/2, stretched by the scale where the image shrinks, so every pixel counts and
nothing aliases (R. Keys, "Cubic convolution interpolation for digital image processing", 1981, equation 15). There are no pixels
beyond an edge: the weights of the pixels inside sum to 1.

Weights are integers, multiples of 1 / ONE, so every sum is exact: the first axis stays below 2^24 in int32, the second below
2^38 in int64. The result depends neither on the order of summation, nor on the CPU, nor on how the image is cut into strips or
turned. Cost: 4 multiply-adds for each byte of the image along the first axis, in vectors along a row; the second axis is small.

    prepare(window, size, begin, end, scale)    # v, and h
    add_rows(sums, rows, top, left, window)     # the first axis, a strip of rows at a time
    finish(out, sums, plane, window)            # the second axis, and rounding
"""

import math
from typing import NamedTuple

import numpy as np

from minisqx.kernels.compiler.jit import entry, njit

ONE = 1 << 14
SHIFT = 28  # ONE * ONE = 1 << SHIFT
HALF = 1 << SHIFT - 1
REACH = 2.0  # of the filter on each side, in pixels of the smaller of the two images
BLOCK = 1024  # bytes of a row at a time, so that a block of the sums stays in the first-level cache


class Window(NamedTuple):
    """The weights of one axis: output i is the sum over k of weights[i, k] / ONE times the pixel first[i] + k.

    first: int64 (outputs,). weights: int16 (outputs, taps). Where first[i] + k lies outside the image, the weight is 0.
    """

    first: np.ndarray
    weights: np.ndarray


@njit
def cubic(x):
    """Keys' filter at the distance x >= 0."""
    if x < 1:
        return (1.5 * x - 2.5) * x * x + 1
    return ((2.5 - 0.5 * x) * x - 4) * x + 2 if x < REACH else 0.0


@njit
def weight_of(x, centre, stretch, begin, end):
    """The weight of pixel x, which covers the interval from x to x + 1, of which the picture may begin or end within."""
    left, right = max(float(x), begin), min(x + 1.0, end)
    return cubic(abs((left + right) / 2 - centre) / stretch) * (right - left)


@entry
def prepare(window, size, begin, end, scale):
    """Fills the window of an axis of `size` pixels, of which the picture covers the interval from `begin` to `end`.

    All outputs together show the picture's centre, each an interval of the length `scale`.
    """
    outputs, taps = window.weights.shape
    stretch = max(scale, 1.0)
    low = (begin + end - outputs * scale) / 2
    for i in range(outputs):
        centre = low + (i + 0.5) * scale
        first = max(0, math.floor(centre - REACH * stretch + 0.5))
        count = min(taps, size - first)
        total = 0.0
        for k in range(count):
            total += weight_of(first + k, centre, stretch, begin, end)
        # Rounding the running sum, not each weight, makes the weights sum to ONE, and hands each rounding error to the next.
        window.first[i] = first
        window.weights[i] = 0
        running, before = 0.0, 0
        for k in range(count):
            running += weight_of(first + k, centre, stretch, begin, end)
            rounded = math.floor(running * (ONE / total) + 0.5)
            window.weights[i, k] = rounded - before
            before = rounded


@entry
def add_rows(sums, rows, top, left, window):
    """sums[i, b] += sum_y weight[i, y] * rows[y - top, left + b], over the rows y of the strip.

    sums: int32 (outputs, bytes). rows: uint8 (height of the strip, bytes of a row), rows `top` and on of the image.
    """
    first, weights = window
    taps, width = weights.shape[1], sums.shape[1]
    for at in range(0, width, BLOCK):
        count = min(BLOCK, width - at)
        begin, end = left + at, left + at + count
        for i in range(sums.shape[0]):
            out, shift = sums[i, at : at + count], top - first[i]
            y, stop = max(-shift, 0), min(taps - shift, rows.shape[0])
            # Four rows at a time, so that the sums are read and written once for all four.
            while y + 4 <= stop:
                a, b, c, d = rows[y, begin:end], rows[y + 1, begin:end], rows[y + 2, begin:end], rows[y + 3, begin:end]
                w = weights[i, y + shift : y + shift + 4]
                w0, w1, w2, w3 = np.int32(w[0]), np.int32(w[1]), np.int32(w[2]), np.int32(w[3])
                for p in range(count):
                    # Numba would make int64 of every sum and product, and a vector hold half as many.
                    more = np.int32(np.int32(w0 * np.int32(a[p])) + np.int32(w1 * np.int32(b[p])))
                    more = np.int32(more + np.int32(w2 * np.int32(c[p])))
                    out[p] = np.int32(out[p] + np.int32(more + np.int32(w3 * np.int32(d[p]))))
                y += 4
            while y < stop:
                row, w0 = rows[y, begin:end], np.int32(weights[i, y + shift])
                for p in range(count):
                    out[p] = np.int32(out[p] + np.int32(w0 * np.int32(row[p])))
                y += 1


@entry
def finish(out, sums, plane, window):
    """Filters along the second axis and rounds: out uint8 (rows, outputs, channels) from sums int32 (rows, columns * channels).

    plane: int32 (columns,), overwritten.
    """
    channels = out.shape[2]
    first, weights = window
    for i in range(out.shape[0]):
        for c in range(channels):
            # One channel of the row, contiguous, so that the sums below are made in vectors.
            channel = sums[i, c:]
            for x in range(len(plane)):
                plane[x] = channel[x * channels]
            for j in range(out.shape[1]):
                start, stop = max(0, -first[j]), min(weights.shape[1], len(plane) - first[j])
                pixels, w = plane[first[j] + start : first[j] + stop], weights[j, start:stop]
                total = HALF
                for k in range(stop - start):
                    total += np.int64(w[k]) * np.int64(pixels[k])
                out[i, j, c] = np.uint8(min(max(total >> SHIFT, 0), 255))
