"""A whole network in one call: the forward pass when nothing is to be learned.

A network is a table of steps. Each is a convolution (with its batch norm, now constant, and its ELU) or a residual sum;
they read and write one flat memory by place and stride, and the last average becomes logits. One call without the
interpreter's lock runs all of it on the calling thread: no Python between layers, no thread pool that another caller
could disturb, and no allocation.

Columns of a step: KIND, then for both kinds OUT_AT, OUT_STRIDE, ROWS, and IN_AT, IN_STRIDE, IN_ROWS; a convolution has
ACTIVATED rows, the place WEIGHT_AT of its weight (in_rows * taps, rows), bias, scale and shift one after the other, and
TABLE_AT of its `Taps` in `inside` and `index`, whose rows are OUT_STRIDE long; a sum has OTHER_AT and OTHER_STRIDE, and reads
only the samples of that one if OTHER_SAMPLED, which is then of the map IN_HEIGHT x IN_WIDTH of the geometry.
"""

from minisqx.kernels import linear, pooling
from minisqx.kernels.convolution import convolve_chunk
from minisqx.kernels.im2col import IN_HEIGHT, IN_WIDTH, OUT_HEIGHT, OUT_WIDTH, Taps
from minisqx.kernels.jit import njit
from minisqx.kernels.residual import add_chunk

CONVOLUTION, SUM = 0, 1
KIND, OUT_AT, OUT_STRIDE, ROWS, IN_AT, IN_STRIDE, IN_ROWS, ACTIVATED, WEIGHT_AT, TABLE_AT = range(10)
OTHER_AT, OTHER_STRIDE, OTHER_SAMPLED, GEOMETRY = range(10, 14)
COLUMNS = GEOMETRY + 12


@njit
def run(
    logits, features, images, steps, weights, inside, index, memory, ones, zeros, scratch, classifier_weight, classifier_bias
):
    """Fills logits (images, classes) for one chunk, whose input lies where the first step reads it.

    features (images, C), memory, scratch: written. ones, zeros: rows as in `blocks.Constants`. classifier_weight (classes, C),
    classifier_bias (classes,). All of one dtype; `steps` (steps, COLUMNS) int64.
    """
    for s in range(steps.shape[0]):
        step = steps[s]
        rows, geometry = step[ROWS], step[GEOMETRY:]
        pixels = images * geometry[OUT_HEIGHT] * geometry[OUT_WIDTH]
        if step[KIND] == CONVOLUTION:
            weight = weights[step[WEIGHT_AT] :]
            count = geometry[0] * geometry[1]
            bias = weight[step[IN_ROWS] * count * rows :]
            table, end = step[TABLE_AT], step[TABLE_AT] + count * step[OUT_STRIDE]
            shape = (count, step[OUT_STRIDE])
            taps = Taps(geometry, inside[table:end].reshape(shape), index[table:end].reshape(shape))
            convolve_chunk(
                memory, step[OUT_AT], step[OUT_STRIDE], rows, memory, step[IN_AT], step[IN_STRIDE], step[IN_ROWS], pixels,
                weight, bias, bias[rows:], bias[2 * rows :], step[ACTIVATED], taps, ones, zeros, False, None, scratch,
            )  # fmt: skip
        else:
            add_chunk(
                memory, step[OUT_AT], step[OUT_STRIDE], rows,
                memory, step[IN_AT], step[IN_STRIDE], ones, zeros, False,
                memory, step[OTHER_AT], step[OTHER_STRIDE], ones, zeros, False, step[OTHER_SAMPLED] != 0,
                geometry[IN_HEIGHT], geometry[IN_WIDTH], pixels, scratch,
            )  # fmt: skip
    last = steps[steps.shape[0] - 1]
    rows, stride = last[ROWS], last[OUT_STRIDE]
    y = memory[last[OUT_AT] : last[OUT_AT] + rows * stride].reshape(1, rows, stride)
    pooling.average(
        features, y, 0, 0, images, last[GEOMETRY + OUT_HEIGHT] * last[GEOMETRY + OUT_WIDTH], ones, zeros, False, scratch
    )
    linear.forward(logits, features, classifier_weight, classifier_bias)
