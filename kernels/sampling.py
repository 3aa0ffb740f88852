"""Every other pixel of every other row: what a layer with stride 2 and a 1x1 kernel reads, and the way back.

    sample:  out[image, y, x] = x[image, 2 y, 2 x]
    spread:  out[image, 2 y, 2 x] = x[image, y, x], 0 elsewhere

So nothing that reads a map with stride 2 computes pixels that it throws away. A map of height x width has ceil(height / 2) x
ceil(width / 2) samples. Both fill a block of a chunk's row (`layout`), as vectors along each row of the map: a vector may reach
beyond the end of a map's row, where the next one then overwrites it.

Cost: a load and a store for each vector of the map.
"""

from typing import NamedTuple

from numba import types

from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.tiles.plain import intrinsic_of
from minisqx.kernels.tiles.simd import INDEX, Loop, Vectors, data_pointer


class Pixel(NamedTuple):
    """A pixel of a chunk's row, in which the maps of all the chunk's images follow each other."""

    image: int
    y: int
    x: int


@njit
def pixel_at(column, height, width):
    """The pixel in a column of a chunk's row, of maps of height x width."""
    inside = column % (height * width)
    return Pixel(column // (height * width), inside // width, inside % width)


@njit
def rows_below(pixel, rows, height):
    """The first pixel `rows` rows further down, at most the first one of the next image."""
    y = pixel.y + rows
    return Pixel(pixel.image + 1, 0, 0) if y == height else Pixel(pixel.image, y, 0)


def _sampled(out, out_at, x, x_at, count):
    out[out_at : out_at + count] = x[x_at : x_at + 2 * count - 1 : 2]


@intrinsic_of(_sampled)
def _sample_run(typing_context, out, out_at, x, x_at, count):
    """out[out_at + p] = x[x_at + 2 p] for 0 <= p < count, rounded up to whole vectors."""
    index = types.int64
    signature = types.void(out, index, x, index, index)

    def generate(context, builder, signature, arguments):
        v = Vectors(builder, signature.args[0].dtype)
        out, x = (data_pointer(context, builder, signature.args[i], arguments[i]) for i in (0, 2))
        loop = Loop(builder, "sample", [])
        at = builder.add(arguments[3], builder.mul(loop.index, INDEX(2)))
        even = v.even_lanes(v.load(x, at), v.load(x, builder.add(at, INDEX(v.lanes))))
        v.store(even, out, builder.add(arguments[1], loop.index))
        loop.close([], v.lanes, arguments[4])
        return context.get_dummy_value()

    return signature, generate


def _spread(out, out_at, x, x_at, count):
    out[out_at : out_at + 2 * count] = 0
    out[out_at : out_at + 2 * count - 1 : 2] = x[x_at : x_at + count]


@intrinsic_of(_spread)
def _spread_run(typing_context, out, out_at, x, x_at, count):
    """out[out_at + 2 p] = x[x_at + p] and out[out_at + 2 p + 1] = 0 for 0 <= p < count, rounded up to half vectors."""
    index = types.int64
    signature = types.void(out, index, x, index, index)

    def generate(context, builder, signature, arguments):
        v = Vectors(builder, signature.args[0].dtype)
        out, x = (data_pointer(context, builder, signature.args[i], arguments[i]) for i in (0, 2))
        loop = Loop(builder, "spread", [])
        values = v.with_zeros_between(v.load(x, builder.add(arguments[3], loop.index)))
        v.store(values, out, builder.add(arguments[1], builder.mul(loop.index, INDEX(2))))
        loop.close([], v.lanes // 2, arguments[4])
        return context.get_dummy_value()

    return signature, generate


@njit
def sample(out, out_at, x, x_at, height, width, block):
    """The samples of a block into out[out_at:]; zero beyond the last.

    x, out: flat; the row begins at x[x_at]. height, width: of the whole map. block: of samples. Up to a vector more of `out` is
    overwritten.
    """
    samples_y, samples_x = (height + 1) // 2, (width + 1) // 2
    first, last = block.first, min(block.first + block.columns, block.pixels)
    p, pixel = first, pixel_at(first, samples_y, samples_x)
    while p < last:
        run = min(samples_x - pixel.x, last - p)
        from_x = x_at + (pixel.image * height + 2 * pixel.y) * width + 2 * pixel.x
        _sample_run(out, out_at + p - first, x, from_x, run)
        p += run
        pixel = rows_below(pixel, 1, samples_y)
    for q in range(out_at + max(last, first) - first, out_at + block.columns):
        out[q] = 0


@njit
def spread(out, out_at, x, x_at, height, width, block):
    """The way back: a block of a whole map's row into out[out_at:], from the samples at x[x_at:]; zero beyond the last pixel.

    Up to a vector more of `out` is overwritten.
    """
    samples_y, samples_x = (height + 1) // 2, (width + 1) // 2
    first, last = block.first, min(block.first + block.columns, block.pixels)
    p, pixel = first, pixel_at(first, height, width)
    while p < last:
        run = min(width - pixel.x, last - p)
        at = out_at + p - first
        if pixel.y % 2 == 1:
            out[at : at + run] = 0
        else:
            # An odd pixel is a zero of its own; from the even one on, samples and zeros take turns.
            odd = pixel.x % 2
            if odd == 1:
                out[at] = 0
            if run > odd:
                from_x = x_at + (pixel.image * samples_y + pixel.y // 2) * samples_x + (pixel.x + odd) // 2
                _spread_run(out, at + odd, x, from_x, (run - odd + 1) // 2)
        p += run
        pixel = rows_below(pixel, 1, height)
    for q in range(out_at + max(last, first) - first, out_at + block.columns):
        out[q] = 0


@njit
def add_spread(out, out_at, x, x_at, height, width, block):
    """Adds to out what `spread` would write."""
    samples_y, samples_x = (height + 1) // 2, (width + 1) // 2
    first, last = block.first, min(block.first + block.columns, block.pixels)
    p, pixel = first, pixel_at(first, height, width)
    while p < last:
        run = min(width - pixel.x, last - p)
        if pixel.y % 2 == 0:
            from_y = x_at + (pixel.image * samples_y + pixel.y // 2) * samples_x
            for q in range(pixel.x + pixel.x % 2, pixel.x + run, 2):
                out[out_at + p - first + q - pixel.x] += x[from_y + q // 2]
        p += run
        pixel = rows_below(pixel, 1, height)
