"""Softmax cross-entropy: the mean over the batch of -log softmax(logits)[label], and its gradient (softmax - one-hot) / N.

The mean is weighted: an image counts as much as the weight of its class. With w its weight and W the sum of all weights in the
batch, the loss is the sum of w / W -log softmax(logits)[label], and the gradient w (softmax - one-hot) / W, as in PyTorch.
"""

import numpy as np

from minisqx.kernels.compiler.jit import njit


@njit
def softmax_cross_entropy(dlogits, logits, labels, class_weights):
    """Writes dlogits (N, classes) and returns the mean loss (float64). The largest logit is subtracted first, so
    nothing overflows. class_weights: (classes,) float64, over 0; ones give the plain mean.
    """
    images, classes = logits.shape
    loss, weight_sum, exponentials = 0.0, 0.0, np.empty(classes)
    for n in range(images):
        weight_sum += class_weights[labels[n]]
    for n in range(images):
        largest = np.float64(logits[n, 0])
        for j in range(1, classes):
            # Not max(): a NaN must reach the loss, where it is looked for.
            if not logits[n, j] <= largest:
                largest = np.float64(logits[n, j])
        total = 0.0
        for j in range(classes):
            exponentials[j] = np.exp(np.float64(logits[n, j]) - largest)
            total += exponentials[j]
        weight = class_weights[labels[n]]
        loss += weight * (np.log(total) + largest - np.float64(logits[n, labels[n]]))
        for j in range(classes):
            dlogits[n, j] = weight * (exponentials[j] / total - (1.0 if j == labels[n] else 0.0)) / weight_sum
    return loss / weight_sum


@njit
def softened_divergence(dlogits, logits, teacher, image_weights, temperature):
    """Writes dlogits (N, classes) and returns the weighted mean of T^2 KL(q || p), float64.

    p = softmax(logits / T), q = softmax(teacher / T), with T the temperature; the gradient is T (p - q), weighted as the mean.
    image_weights: (N,) float64, over 0.
    """
    images, classes = logits.shape
    divergence, weight_sum = 0.0, image_weights.sum()
    ours, theirs = np.empty(classes), np.empty(classes)
    for n in range(images):
        our_log = _softened(ours, logits[n], temperature)
        their_log = _softened(theirs, teacher[n], temperature)
        weight = image_weights[n] / weight_sum
        for j in range(classes):
            difference = (np.float64(teacher[n, j]) - np.float64(logits[n, j])) / temperature - their_log + our_log
            divergence += weight * temperature * temperature * theirs[j] * difference
            dlogits[n, j] = weight * temperature * (ours[j] - theirs[j])
    return divergence


@njit
def _softened(probabilities, logits, temperature):
    """Writes softmax(logits / temperature), float64, and returns the logarithm of the sum of exponentials."""
    largest = np.float64(logits.max())
    total = 0.0
    for j in range(len(logits)):
        probabilities[j] = np.exp((np.float64(logits[j]) - largest) / temperature)
        total += probabilities[j]
    probabilities /= total
    return np.log(total) + largest / temperature
