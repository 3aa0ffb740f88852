"""Inference: the forward pass of a whole network in one call.

A network is a table of steps (`frozen.py`): convolutions (with activation, and batch norm as constants), residual sums and max
pools. They read and write one flat memory by offset and stride; the average of the last map gives the logits. One call runs all
of it on the calling thread, without the GIL: no Python between layers, no thread pool shared with other callers, no allocation.
"""

from minisqx.kernels import channels_last, im2col, linear, pooling
from minisqx.kernels.activation import NO_ACTIVATION
from minisqx.kernels.blocks import clear_tail, whole_vectors
from minisqx.kernels.compiler.jit import entry, njit
from minisqx.kernels.convolution import convolve_chunk
from minisqx.kernels.frozen import (
    ACTIVATED,
    ACTIVATION,
    CONVOLUTION,
    GEOMETRY,
    IN_AT,
    IN_CHANNEL,
    IN_ROW,
    IN_ROWS,
    IN_STRIDE,
    KIND,
    MAPS_CONVOLUTION,
    MAPS_MAX_POOL,
    OTHER_AT,
    OTHER_SAMPLED,
    OTHER_STRIDE,
    OUT_AT,
    OUT_BORDER,
    OUT_ROW,
    OUT_STRIDE,
    ROWS,
    SUM,
    TABLE_AT,
    WEIGHT_AT,
)
from minisqx.kernels.geometry import (
    IN_HEIGHT,
    IN_WIDTH,
    KERNEL_HEIGHT,
    KERNEL_WIDTH,
    OUT_HEIGHT,
    OUT_WIDTH,
    PADDING_HEIGHT,
    PADDING_WIDTH,
    STRIDE_HEIGHT,
    STRIDE_WIDTH,
    Taps,
)
from minisqx.kernels.max_pool import pool_chunk
from minisqx.kernels.residual import add_chunk
from minisqx.kernels.structures import (
    SCRATCH_STRIDE,
    Affine,
    Chunk,
    Convolution,
    Folded,
    Maps,
    Matrix,
    Sampling,
    Scratch,
    Windows,
)
from minisqx.kernels.tiles import channel_vectors, product, windows
from minisqx.kernels.tiles.simd import VECTOR_BYTES, flat, matrix_in


def prepare(logits, *_) -> None:
    """Compiles, or loads, what `run` calls as C functions."""
    im2col.prepare(logits.dtype)
    product.prepare(logits.dtype, training=False)
    windows.prepare(logits.dtype)


def prepare_maps(logits, *_) -> None:
    """The same for `run_on_maps`."""
    channel_vectors.prepare(logits.dtype)


@njit
def vectors_of_windows(geometry, images, lane_count):
    """The number of vectors in a row of an output's map, if `product_of_windows` should compute a convolution; else 0.

    It should where it can, and where at most a quarter of the outputs are computed twice: that costs less than im2col.
    """
    taps, out_width = geometry[KERNEL_HEIGHT] * geometry[KERNEL_WIDTH], geometry[OUT_WIDTH]
    strided = geometry[STRIDE_HEIGHT] * geometry[STRIDE_WIDTH] > 1
    if taps == 1 or strided or geometry[PADDING_HEIGHT] + geometry[PADDING_WIDTH] > 0 or out_width < lane_count:
        return 0
    vectors = (out_width + lane_count - 1) // lane_count
    if 4 * vectors * lane_count > 5 * out_width or images * geometry[OUT_HEIGHT] * vectors < product.VECTORS:
        return 0
    return vectors


@njit
def convolve(out, x, images, convolution, folded, scratch):
    """One chunk of a convolution of x, a `Chunk` without scale, shift and activation; without im2col where that is faster."""
    geometry, outputs = convolution.geometry, convolution.outputs
    rows = images * geometry[OUT_HEIGHT]
    pixels = rows * geometry[OUT_WIDTH]
    vectors = vectors_of_windows(geometry, images, VECTOR_BYTES // out.data.itemsize)
    if vectors == 0:
        convolve_chunk(out, x, pixels, convolution, folded, None, scratch)
        return
    taps, index_stride = convolution.index.shape
    windowed = Windows(
        x.data, x.at, x.stride, convolution.index, index_stride, convolution.inputs, taps,
        geometry[IN_HEIGHT], geometry[IN_WIDTH], geometry[OUT_HEIGHT], geometry[OUT_WIDTH], vectors,
    )  # fmt: skip
    weight, epilogue = Matrix(folded.weight, 0, outputs), Affine(folded.bias, folded.scale, folded.shift)
    middle = convolution.activated
    for start, stop, activation in ((0, middle, convolution.activation), (middle, outputs, NO_ACTIVATION)):
        if start < stop:
            windows.product_of_windows(out, weight, windowed, start, stop, epilogue, activation, rows * vectors)
    clear_tail(out, outputs, pixels, whole_vectors(pixels, out.data.itemsize))


@njit
def maps_step(step, weights, memory, images):
    """A step that reads `Maps`. weights, memory: flat."""
    rows, geometry, channels = step[ROWS], step[GEOMETRY:], step[IN_ROWS]
    height, width = geometry[OUT_HEIGHT], geometry[OUT_WIDTH]
    x = Maps(memory, step[IN_AT], geometry[IN_HEIGHT] * step[IN_ROW], step[IN_ROW], step[IN_STRIDE], step[IN_CHANNEL])
    out = Maps(memory, step[OUT_AT], height * step[OUT_ROW], step[OUT_ROW], step[OUT_STRIDE], 1)
    if step[KIND] == MAPS_CONVOLUTION:
        weight = weights[step[WEIGHT_AT] :]
        bias = weight[channels * geometry[KERNEL_HEIGHT] * geometry[KERNEL_WIDTH] * rows :]
        constants = Folded(weight, bias, bias[rows:], bias[2 * rows :])
        channels_last.convolve(out, x, images, geometry, channels, rows, constants, step[ACTIVATION], step[OUT_BORDER])
    elif step[KIND] == MAPS_MAX_POOL:
        channels_last.pool(out, x, images, rows, geometry)
    else:
        channels_last.to_rows(Matrix(memory, step[OUT_AT], step[OUT_STRIDE]), x, images, rows, height, width)


@njit
def classify(logits, program, classifier, images, memory, features, columns):
    """The averages of the last step's output, and from these the logits. columns: `Matrix`, scratch."""
    zeros, ones = flat(program.zeros), flat(program.ones)
    last = program.steps[program.steps.shape[0] - 1]
    y = Chunk(memory, last[OUT_AT], last[OUT_STRIDE], ones, zeros, NO_ACTIVATION)
    map_pixels = last[GEOMETRY + OUT_HEIGHT] * last[GEOMETRY + OUT_WIDTH]
    pooling.average(features, y, 0, images, map_pixels, columns)
    if classifier.bias.size > 0:
        linear.forward(logits, features, classifier.weight, classifier.bias)
    else:
        for n in range(images):
            for k in range(features.shape[1]):
                logits[n, k] = features[n, k]


@entry(before=prepare)
def run(logits, program, classifier, images, memory, features, scratch_memory):
    """Writes logits (images, classes) for one chunk, whose input is where the first step reads it.

    program: `Program`; classifier: `Classifier`. memory, features (images, C), scratch_memory: written. All of one dtype.
    """
    zeros, ones, weights, memory = flat(program.zeros), flat(program.ones), flat(program.weights), flat(memory)
    columns = Matrix(flat(scratch_memory), 0, SCRATCH_STRIDE)
    for s in range(program.steps.shape[0]):
        step = program.steps[s]
        rows, geometry = step[ROWS], step[GEOMETRY:]
        pixels = images * geometry[OUT_HEIGHT] * geometry[OUT_WIDTH]
        out = Matrix(memory, step[OUT_AT], step[OUT_STRIDE])
        x = Chunk(memory, step[IN_AT], step[IN_STRIDE], ones, zeros, NO_ACTIVATION)
        count = geometry[KERNEL_HEIGHT] * geometry[KERNEL_WIDTH]
        inside = matrix_in(program.inside, step[TABLE_AT], count, step[OUT_STRIDE])
        index = matrix_in(program.index, step[TABLE_AT], count, step[OUT_STRIDE])
        if step[KIND] == CONVOLUTION:
            # The weight (in_rows * taps, rows), then bias, scale and shift (rows,).
            weight = weights[step[WEIGHT_AT] :]
            bias = weight[step[IN_ROWS] * count * rows :]
            # Rows of scratch as near to each other as those of the output: small maps then take few pages and cache lines.
            dense = Matrix(columns.data, 0, min(step[OUT_STRIDE], SCRATCH_STRIDE))
            scratch = Scratch(dense, dense, dense, zeros, ones)  # forward, only its columns are used
            folded = Folded(weight, bias, bias[rows:], bias[2 * rows :])
            convolution = Convolution(geometry, inside, index, step[IN_ROWS], rows, step[ACTIVATION], step[ACTIVATED])
            convolve(out, x, images, convolution, folded, scratch)
        elif step[KIND] == SUM:
            other = Chunk(memory, step[OTHER_AT], step[OTHER_STRIDE], ones, zeros, NO_ACTIVATION)
            sampling = Sampling(step[OTHER_SAMPLED] != 0, geometry[IN_HEIGHT], geometry[IN_WIDTH])
            add_chunk(out, x, other, sampling, rows, step[ACTIVATION], pixels, columns)
        else:
            pool_chunk(out, x, rows, Taps(geometry, inside, index), pixels, None)
    classify(logits, program, classifier, images, memory, features, columns)


@entry(before=prepare_maps)
def run_on_maps(logits, program, classifier, images, memory, features, scratch_memory):
    """`run` for a program of steps on `Maps`."""
    weights, memory, columns = flat(program.weights), flat(memory), Matrix(flat(scratch_memory), 0, SCRATCH_STRIDE)
    for s in range(program.steps.shape[0]):
        maps_step(program.steps[s], weights, memory, images)
    classify(logits, program, classifier, images, memory, features, columns)
