"""A whole network in one call: the forward pass when nothing is to be learned.

A network is a table of steps. Each is a convolution (with its batch norm, now constant, and its activation), a residual sum or a
max pool; they read and write one flat memory by place and stride, and the last average becomes logits. One call without the
interpreter's lock runs all of it on the calling thread: no Python between layers, no thread pool that another caller
could disturb, and no allocation.

Columns of a step: KIND, then for all kinds OUT_AT, OUT_STRIDE, ROWS, and IN_AT, IN_STRIDE, IN_ROWS, and the `Geometry`. A
convolution and a max pool have the place TABLE_AT of their `Taps` in `inside` and `index`, whose rows are OUT_STRIDE long; a
convolution the ACTIVATION of its first ACTIVATED rows, and the place WEIGHT_AT of its weight (in_rows * taps, rows), bias, scale
and shift one after the other; a sum its ACTIVATION, OTHER_AT and OTHER_STRIDE, and reads only the samples of that one if
OTHER_SAMPLED, which is then of the map IN_HEIGHT x IN_WIDTH of the geometry.
"""

from minisqx.kernels import linear, pooling
from minisqx.kernels.activation import NO_ACTIVATION
from minisqx.kernels.convolution import convolve_chunk
from minisqx.kernels.im2col import IN_HEIGHT, IN_WIDTH, KERNEL_HEIGHT, KERNEL_WIDTH, OUT_HEIGHT, OUT_WIDTH, Taps
from minisqx.kernels.jit import njit
from minisqx.kernels.max_pool import pool_chunk
from minisqx.kernels.residual import add_chunk

CONVOLUTION, SUM, MAX_POOL = range(3)
KIND, OUT_AT, OUT_STRIDE, ROWS, IN_AT, IN_STRIDE, IN_ROWS, ACTIVATION, ACTIVATED, WEIGHT_AT, TABLE_AT = range(11)
OTHER_AT, OTHER_STRIDE, OTHER_SAMPLED, GEOMETRY = range(11, 15)
COLUMNS = GEOMETRY + 12


@njit
def run(
    logits, features, images, steps, weights, inside, index, memory, ones, zeros, scratch, classifier_weight, classifier_bias
):
    """Fills logits (images, classes) for one chunk, whose input lies where the first step reads it.

    features (images, C), memory, scratch: written. ones, zeros: rows as in `blocks.Constants`. classifier_weight (classes, C),
    classifier_bias (classes,), or empty where the averages are the logits. All of one dtype; `steps` (steps, COLUMNS) int64.
    """
    for s in range(steps.shape[0]):
        step = steps[s]
        rows, geometry = step[ROWS], step[GEOMETRY:]
        pixels = images * geometry[OUT_HEIGHT] * geometry[OUT_WIDTH]
        count = geometry[KERNEL_HEIGHT] * geometry[KERNEL_WIDTH]
        table, end = step[TABLE_AT], step[TABLE_AT] + count * step[OUT_STRIDE]
        shape = (count, step[OUT_STRIDE])
        taps = Taps(geometry, inside[table:end].reshape(shape), index[table:end].reshape(shape))
        if step[KIND] == CONVOLUTION:
            weight = weights[step[WEIGHT_AT] :]
            bias = weight[step[IN_ROWS] * count * rows :]
            convolve_chunk(
                memory, step[OUT_AT], step[OUT_STRIDE], rows, memory, step[IN_AT], step[IN_STRIDE], step[IN_ROWS], pixels,
                weight, bias, bias[rows:], bias[2 * rows :], step[ACTIVATION], step[ACTIVATED],
                taps, ones, zeros, NO_ACTIVATION, None, scratch,
            )  # fmt: skip
        elif step[KIND] == SUM:
            add_chunk(
                memory, step[OUT_AT], step[OUT_STRIDE], rows,
                memory, step[IN_AT], step[IN_STRIDE], ones, zeros, NO_ACTIVATION,
                memory, step[OTHER_AT], step[OTHER_STRIDE], ones, zeros, NO_ACTIVATION, step[OTHER_SAMPLED] != 0,
                geometry[IN_HEIGHT], geometry[IN_WIDTH], step[ACTIVATION], pixels, scratch,
            )  # fmt: skip
        else:
            pool_chunk(
                memory, step[OUT_AT], step[OUT_STRIDE], rows, None, memory, step[IN_AT], step[IN_STRIDE], taps, pixels
            )  # fmt: skip
    last = steps[steps.shape[0] - 1]
    rows, stride = last[ROWS], last[OUT_STRIDE]
    y = memory[last[OUT_AT] : last[OUT_AT] + rows * stride].reshape(1, rows, stride)
    pooling.average(
        features, y, 0, 0, images, last[GEOMETRY + OUT_HEIGHT] * last[GEOMETRY + OUT_WIDTH], ones, zeros, NO_ACTIVATION, scratch
    )
    if classifier_bias.size > 0:
        linear.forward(logits, features, classifier_weight, classifier_bias)
    else:
        for n in range(images):
            for k in range(features.shape[1]):
                logits[n, k] = features[n, k]
