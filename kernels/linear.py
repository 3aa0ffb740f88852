"""The classifier: logits = features weight^T + bias, and its gradients.

Its size (a few thousand multiply-adds an image) makes it one of the cheapest parts: plain loops with the channels innermost,
sums in float64 in a fixed order.
"""

import numpy as np

from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.tiles.simd import flat
from minisqx.kernels.tiles.sums import dot


@njit
def forward(logits, features, weight, bias):
    """logits (N, classes) from features (N, C), weight (classes, C), bias (classes,)."""
    channels = weight.shape[1]
    features_flat, weight_flat = flat(features), flat(weight)
    for n in range(features.shape[0]):
        for j in range(weight.shape[0]):
            logits[n, j] = np.float64(bias[j]) + dot(features_flat, n * channels, weight_flat, j * channels, channels)


@njit
def backward(dfeatures, dweight, dbias, dlogits, features, weight, sums):
    """dfeatures = dlogits weight, dweight = dlogits^T features, dbias = sum of dlogits over the batch.

    sums: float64 (classes * C + classes + C,), written.
    """
    (classes, channels), images = weight.shape, len(features)
    sums[:] = 0
    totals, row = sums[: classes * channels].reshape(classes, channels), sums[classes * channels + classes :]
    bias_total = sums[classes * channels : classes * channels + classes]
    for n in range(images):
        row[:] = 0
        for j in range(classes):
            slope, total = np.float64(dlogits[n, j]), totals[j]
            bias_total[j] += slope
            for k in range(channels):
                total[k] += slope * np.float64(features[n, k])
            for k in range(channels):
                row[k] += slope * np.float64(weight[j, k])
        for k in range(channels):
            dfeatures[n, k] = row[k]
    for j in range(classes):
        dbias[j] = bias_total[j]
        for k in range(channels):
            dweight[j, k] = totals[j, k]
