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
