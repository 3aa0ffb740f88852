"""Batch norm, kept as a scale and a shift a channel that the next layer applies.

    y = gamma (e - mean) / sqrt(var + eps) + beta = e * scale + shift
    scale = gamma / sqrt(var + eps),  shift = beta - mean * scale

Backward, with n values a channel, r = 1 / sqrt(var + eps), g = dL/dy, S = sum g and D = sum g (e - mean):

    dbeta = S,  dgamma = r D,  dL/de = gamma r (g - S / n - (e - mean) r^2 D / n) = a g + b e + c

Statistics: each lane of a vector sums differences from its first value, and their squares, while the values are in registers
(`product_with_moments`); lanes, and then chunks, are merged in order in float64 (Chan, Golub, LeVeque 1979). E[x^2] -
E[x]^2 would lose the digits of channels whose mean is large beside their spread.

Source: Ioffe and Szegedy 2015; eps 1e-5 and momentum 0.1 as in the authors' PyTorch; the running variance is the unbiased one.
"""

import numpy as np
from numba import types
from numba.core import cgutils

from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.structures import EPSILON
from minisqx.kernels.tiles.plain import activation_backward, intrinsic_of, row_of_block
from minisqx.kernels.tiles.simd import INDEX, Loop, Vectors, for_each_activation, moved, unpacked

MOMENTUM = 0.1


@njit
def merge_lanes(moments, lane_moments, lane_count, count):
    """moments (2, channels) float64, mean and sum of squared deviations, of lane_moments, flat (channels, 3, lanes), as
    `product_with_moments` leaves them; each lane has `count` values.
    """
    if count == 0:
        moments[:] = 0
        return
    inverse = 1 / count
    for m in range(moments.shape[1]):
        at = 3 * m * lane_count
        # From one of the values on, so that equal ones give exactly their mean and no variance.
        origin, from_origin, squares, between = np.float64(lane_moments[at]), 0.0, 0.0, 0.0
        for lane in range(at, at + lane_count):
            difference = np.float64(lane_moments[lane + lane_count])
            from_origin += np.float64(lane_moments[lane]) - origin + difference * inverse
            squares += np.float64(lane_moments[lane + 2 * lane_count]) - difference * difference * inverse
        mean = origin + from_origin / lane_count
        for lane in range(at, at + lane_count):
            deviation = np.float64(lane_moments[lane]) + np.float64(lane_moments[lane + lane_count]) * inverse - mean
            between += deviation * deviation
        moments[0, m] = mean
        moments[1, m] = squares + count * between


@njit
def add_moments(moments, e, count_before, count):
    """Merges pixels count_before : count_before + count of e, a `Matrix`, too few for a vector, into `moments` (2, channels)
    float64: mean and sum of squared deviations of the pixels before.
    """
    weight = count / (count_before + count)
    for m in range(moments.shape[1]):
        at = e.at + m * e.stride + count_before
        row = e.data[at : at + count]
        mean, squares = 0.0, 0.0
        for p in range(count):
            mean += np.float64(row[p])
        mean /= count
        for p in range(count):
            deviation = np.float64(row[p]) - mean
            squares += deviation * deviation
        difference = mean - moments[0, m]
        moments[0, m] += difference * weight
        moments[1, m] += squares + difference * difference * weight * count_before


@njit
def merge_moments(norm, chunk_moments, chunk_counts):
    """The mean and biased variance of a `Norm` from all chunks' moments (chunks, 2, channels), merged in chunk order; returns the
    count.
    """
    mean, variance, total = norm.mean, norm.variance, 0.0
    mean[:] = 0
    variance[:] = 0
    for chunk in range(chunk_moments.shape[0]):
        count = chunk_counts[chunk]
        weight = count / (total + count)
        for m in range(mean.size):
            difference = chunk_moments[chunk, 0, m] - mean[m]
            mean[m] += difference * weight
            variance[m] += chunk_moments[chunk, 1, m] + difference * difference * weight * total
        total += count
    for m in range(mean.size):
        variance[m] /= total
    return total


@njit
def affine(norm, parameters):
    """Batch norm as y = e * scale + shift: the scale and shift of a `Norm` from its statistics and gamma and beta."""
    for m in range(norm.scale.size):
        s = np.float64(parameters.gamma[m]) / np.sqrt(np.float64(norm.variance[m]) + EPSILON)
        norm.scale[m] = s
        norm.shift[m] = parameters.beta[m] - norm.mean[m] * s


@njit
def update_running(norm, count):
    """running = 0.9 running + 0.1 batch, with the unbiased variance; count: of the values of a channel."""
    mean, variance, running_mean, running_var = norm.mean, norm.variance, norm.running_mean, norm.running_var
    for m in range(mean.size):
        running_mean[m] = (1 - MOMENTUM) * running_mean[m] + MOMENTUM * mean[m]
        running_var[m] = (1 - MOMENTUM) * running_var[m] + MOMENTUM * variance[m] * (count / (count - 1))


@njit
def backward_coefficients(gradients, norm, parameters, count):
    """a, b, c of dL/de = a g + b e + c, written to norm.coefficients; and dgamma, dbeta, written to `gradients`.

    norm.sums: sum g and sum g e over the batch. count: of the values of a channel.
    """
    mean, variance, gamma, coefficients = norm.mean, norm.variance, parameters.gamma, norm.coefficients
    for m in range(mean.size):
        r = 1 / np.sqrt(variance[m] + EPSILON)
        total = norm.sums[m, 0]
        centred = norm.sums[m, 1] - mean[m] * total
        slope = -gamma[m] * r * r * r * centred / count
        coefficients[0, m] = gamma[m] * r
        coefficients[1, m] = slope
        coefficients[2, m] = -gamma[m] * r * total / count - slope * mean[m]
        gradients.gamma[m] = r * centred
        gradients.beta[m] = total


def _dz(dz, g, e, m, coefficients, activation, block):
    gradient, output, out = (row_of_block(x, m, block) for x in (g, e, dz))
    a, b, c = coefficients[:, m]
    out[:] = activation_backward(a * gradient + (b * output + c), output, activation)


@intrinsic_of(_dz)
def dz_row(typing_context, dz, g, e, m, coefficients, activation, block):
    """dz[m, p] = (a g[m, p] + b e[m, p] + c) f'(e[m, p]) for the pixels p of a block; dz, g and e: `Matrix`.

    coefficients: (3, channels) a, b and c. activation: the number of f.
    """
    index = types.int64
    signature = types.void(dz, g, e, index, coefficients, index, block)

    def generate(context, builder, signature, arguments):
        v = Vectors(builder, signature.args[0].types[0].dtype)
        dz, g, e, m, _, activation, block = (unpacked(context, builder, *each) for each in zip(signature.args, arguments))
        dz, g, e = (moved(builder, matrix, m, block.first).data for matrix in (dz, g, e))
        array = context.make_array(signature.args[4])(context, builder, arguments[4])
        channels = cgutils.unpack_tuple(builder, array.shape)[1]
        a, b, c = (v.broadcast(v.load_scalar(array.data, builder.add(m, builder.mul(INDEX(row), channels)))) for row in range(3))

        def emit(activation: int) -> None:
            loop = Loop(builder, "dz", [])
            values = (v.load(each, loop.index) for each in (g, e))
            v.store(v.batch_norm_activation_backward(*values, a, b, c, activation), dz, loop.index)
            loop.close([], v.lanes, block.columns)

        for_each_activation(builder, activation, emit)
        return context.get_dummy_value()

    return signature, generate
