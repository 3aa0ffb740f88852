"""Batch norm, kept as a scale and a shift a channel that the next layer applies.

    y = gamma (e - mean) / sqrt(var + eps) + beta = e * scale + shift
    scale = gamma / sqrt(var + eps),  shift = beta - mean * scale

Backward, with n values a channel, r = 1 / sqrt(var + eps), g = dL/dy, S = sum g and D = sum g (e - mean):

    dbeta = S,  dgamma = r D,  dL/de = gamma r (g - S / n - (e - mean) r^2 D / n) = a g + b e + c

Statistics: each block of pixels gives its mean and its sum of squared deviations in two passes over values that are in
cache; blocks and chunks are merged in order in float64 (Chan, Golub, LeVeque 1979). E[x^2] - E[x]^2 would lose the
digits of channels whose mean is large beside their spread.

Source: Ioffe and Szegedy 2015; eps 1e-5 and momentum 0.1 as in the authors' PyTorch; the running variance is the unbiased one.
"""

import numpy as np

from minisqx.kernels.jit import njit

EPSILON = 1e-5
MOMENTUM = 0.1


@njit
def add_block_moments(moments, e, e_at, e_stride, channels, count_before, count):
    """Merges `count` pixels a channel into `moments` (2, channels) float64: mean and sum of squared deviations of
    `count_before` pixels.
    """
    weight = count / (count_before + count)
    for m in range(channels):
        at = e_at + m * e_stride
        row = e[at : at + count]
        total = row[0] * 0
        for p in range(count):
            total += row[p]
        middle = row.dtype.type(total / count)
        first_order = total * 0
        second_order = total * 0
        for p in range(count):
            deviation = row[p] - middle
            first_order += deviation
            second_order += deviation * deviation
        # `middle` is a rounded mean: what the deviations still sum to corrects both moments.
        rest = np.float64(first_order) / count
        difference = np.float64(middle) + rest - moments[0, m]
        moments[0, m] += difference * weight
        moments[1, m] += second_order - first_order * rest + difference * difference * weight * count_before


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
