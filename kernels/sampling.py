"""Every other pixel of every other row: what a layer with stride 2 and a 1x1 kernel reads, and the way back.

    sample:  out[image, y, x] = x[image, 2 y, 2 x]
    spread:  out[image, 2 y, 2 x] = x[image, y, x], 0 elsewhere

So nothing that reads a map with stride 2 computes on pixels that it throws away. A map of height x width has ceil(height / 2) x
ceil(width / 2) samples. Both work on a part of a chunk's row of the `layout`, as vectors along each row of the map: a vector
may reach beyond the end of a map's row, where what comes next is then written.

Cost: a load and a store for each vector of the map.
"""

from numba import types

from minisqx.kernels.jit import njit
from minisqx.kernels.plain import intrinsic_of
from minisqx.kernels.simd import INDEX, Loop, Vectors, data_pointer


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
def sample(out, out_at, x, x_at, height, width, first, columns, pixels):
    """Samples `first` to `first + columns` of a row that has `pixels` samples into out[out_at:]; beyond the last is zero.

    x, out: flat; the row begins at x[x_at]. height, width: of the whole map. Up to a vector more of `out` is overwritten.
    """
    samples_y, samples_x = (height + 1) // 2, (width + 1) // 2
    last = min(first + columns, pixels)
    p = first
    image, inside = first // (samples_y * samples_x), first % (samples_y * samples_x)
    y, start = inside // samples_x, inside % samples_x
    while p < last:
        run = min(samples_x - start, last - p)
        _sample_run(out, out_at + p - first, x, x_at + (image * height + 2 * y) * width + 2 * start, run)
        p += run
        start = 0
        y += 1
        if y == samples_y:
            y = 0
            image += 1
    for q in range(out_at + max(last, first) - first, out_at + columns):
        out[q] = 0


@njit
def spread(out, out_at, x, x_at, height, width, first, columns, pixels):
    """The way back: pixels `first` to `first + columns` of a whole map's row of `pixels` pixels, from its samples at x[x_at:].

    Up to a vector more of `out` is overwritten.
    """
    samples_y, samples_x = (height + 1) // 2, (width + 1) // 2
    last = min(first + columns, pixels)
    p = first
    image, inside = first // (height * width), first % (height * width)
    y, start = inside // width, inside % width
    while p < last:
        run = min(width - start, last - p)
        at = out_at + p - first
        if y % 2 == 1:
            out[at : at + run] = 0
        else:
            if start % 2 == 1:
                out[at] = 0
            even = start % 2
            if run > even:
                from_x = x_at + (image * samples_y + y // 2) * samples_x + (start + even) // 2
                _spread_run(out, at + even, x, from_x, (run - even + 1) // 2)
        p += run
        start = 0
        y += 1
        if y == height:
            y = 0
            image += 1
    for q in range(out_at + max(last, first) - first, out_at + columns):
        out[q] = 0


@njit
def add_spread(out, out_at, x, x_at, height, width, first, columns, pixels):
    """Adds to out what `spread` would write."""
    samples_y, samples_x = (height + 1) // 2, (width + 1) // 2
    last = min(first + columns, pixels)
    p = first
    image, inside = first // (height * width), first % (height * width)
    y, start = inside // width, inside % width
    while p < last:
        run = min(width - start, last - p)
        if y % 2 == 0:
            from_y = x_at + (image * samples_y + y // 2) * samples_x
            for q in range(start + start % 2, start + run, 2):
                out[out_at + p - first + q - start] += x[from_y + q // 2]
        p += run
        start = 0
        y += 1
        if y == height:
            y = 0
            image += 1
