"""The classifier: logits = features weight^T + bias, and its gradients.

Its size (a few thousand multiply-adds an image) makes it one of the cheapest parts: plain loops, sums in float64 in a
fixed order.
"""

import numpy as np

from minisqx.kernels.jit import njit


@njit
def forward(logits, features, weight, bias):
    """logits (N, classes) from features (N, C), weight (classes, C), bias (classes,)."""
    for n in range(features.shape[0]):
        for j in range(weight.shape[0]):
            total = np.float64(bias[j])
            for k in range(features.shape[1]):
                total += np.float64(features[n, k]) * np.float64(weight[j, k])
            logits[n, j] = total


@njit
def backward(dfeatures, dweight, dbias, dlogits, features, weight):
    """dfeatures = dlogits weight, dweight = dlogits^T features, dbias = sum of dlogits over the batch."""
    images, channels = features.shape
    for j in range(weight.shape[0]):
        total = 0.0
        for n in range(images):
            total += np.float64(dlogits[n, j])
        dbias[j] = total
        for k in range(channels):
            total = 0.0
            for n in range(images):
                total += np.float64(dlogits[n, j]) * np.float64(features[n, k])
            dweight[j, k] = total
    for n in range(images):
        for k in range(channels):
            total = 0.0
            for j in range(weight.shape[0]):
                total += np.float64(dlogits[n, j]) * np.float64(weight[j, k])
            dfeatures[n, k] = total
