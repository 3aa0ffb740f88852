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

from minisqx.kernels.jit import njit
from minisqx.kernels.plain import ELU, NO_ACTIVATION, RELU, activation_backward, intrinsic_of
from minisqx.kernels.simd import Loop, Vectors, data_pointer, switch

EPSILON = 1e-5
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
def add_moments(moments, e, e_at, e_stride, channels, count_before, count):
    """Merges `count` pixels a channel, too few for a vector, into `moments` (2, channels) float64: mean and sum of squared
    deviations of `count_before` pixels.
    """
    weight = count / (count_before + count)
    for m in range(channels):
        at = e_at + m * e_stride
        row = e[at : at + count]
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
def merge_moments(chunk_moments, chunk_counts, mean, variance):
    """The mean and biased variance (channels,) of all chunks' moments (chunks, 2, channels), merged in chunk order;
    returns the count.
    """
    total = 0.0
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
def affine(scale, shift, gamma, beta, mean, variance):
    """Batch norm as y = e * scale + shift, all (channels,)."""
    for m in range(scale.size):
        s = np.float64(gamma[m]) / np.sqrt(np.float64(variance[m]) + EPSILON)
        scale[m] = s
        shift[m] = beta[m] - mean[m] * s


@njit
def update_running(running_mean, running_var, mean, variance, count):
    """running = 0.9 running + 0.1 batch, with the unbiased variance."""
    for m in range(mean.size):
        running_mean[m] = (1 - MOMENTUM) * running_mean[m] + MOMENTUM * mean[m]
        running_var[m] = (1 - MOMENTUM) * running_var[m] + MOMENTUM * variance[m] * (count / (count - 1))


@njit
def backward_coefficients(coefficients, dgamma, dbeta, gamma, mean, variance, count, sums):
    """a, b, c of dL/de = a g + b e + c, as `coefficients` (3, channels); and dgamma, dbeta.

    sums: (2, channels) float64, sum g and sum g e over the batch.
    """
    for m in range(mean.size):
        r = 1 / np.sqrt(variance[m] + EPSILON)
        total = sums[0, m]
        centred = sums[1, m] - mean[m] * total
        slope = -gamma[m] * r * r * r * centred / count
        coefficients[0, m] = gamma[m] * r
        coefficients[1, m] = slope
        coefficients[2, m] = -gamma[m] * r * total / count - slope * mean[m]
        dgamma[m] = r * centred
        dbeta[m] = total


def _dz(out, out_at, g, g_at, e, e_at, a, b, c, kind, columns):
    gradient, output = g[g_at : g_at + columns], e[e_at : e_at + columns]
    out[out_at : out_at + columns] = activation_backward(a * gradient + (b * output + c), output, kind)


@intrinsic_of(_dz)
def _dz_vectors(typing_context, out, out_at, g, g_at, e, e_at, a, b, c, kind, columns):
    index = types.int64
    signature = types.void(out, index, g, index, e, index, a, b, c, index, index)

    def generate(context, builder, signature, arguments):
        v = Vectors(builder, signature.args[0].dtype)
        out, g, e = (data_pointer(context, builder, signature.args[i], arguments[i]) for i in (0, 2, 4))
        out_at, g_at, e_at, kind, columns = (arguments[i] for i in (1, 3, 5, 9, 10))
        a, b, c = (v.broadcast(arguments[i]) for i in (6, 7, 8))

        def emit(kind: int) -> None:
            loop = Loop(builder, "dz", [])
            values = (v.load(base, builder.add(at, loop.index)) for base, at in ((g, g_at), (e, e_at)))
            v.store(v.batch_norm_activation_backward(*values, a, b, c, kind), out, builder.add(out_at, loop.index))
            loop.close([], v.lanes, columns)

        switch(builder, kind, {kind: lambda kind=kind: emit(kind) for kind in (NO_ACTIVATION, ELU, RELU)})
        return context.get_dummy_value()

    return signature, generate


@njit
def dz_row(out, out_at, g, g_at, e, e_at, a, b, c, kind, columns):
    """out[out_at + p] = (a g + b e + c) f'(e) for 0 <= p < `columns`, a multiple of a vector. kind: of the activation f."""
    _dz_vectors(out, out_at, g, g_at, e, e_at, a, b, c, kind, columns)
