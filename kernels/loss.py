"""Softmax cross-entropy: the mean over the batch of -log softmax(logits)[label], and its gradient (softmax - one-hot) / N."""

import numpy as np

from minisqx.kernels.jit import njit


@njit
def softmax_cross_entropy(dlogits, logits, labels):
    """Writes dlogits (N, classes) and returns the mean loss (float64). The largest logit is subtracted first, so
    nothing overflows.
    """
    images, classes = logits.shape
    loss = 0.0
    for n in range(images):
        largest = np.float64(logits[n, 0])
        for j in range(1, classes):
            # Not max(): a NaN must reach the loss, where it is looked for.
            if not logits[n, j] <= largest:
                largest = np.float64(logits[n, j])
        total = 0.0
        for j in range(classes):
            total += np.exp(np.float64(logits[n, j]) - largest)
        loss += np.log(total) + largest - np.float64(logits[n, labels[n]])
        for j in range(classes):
            probability = np.exp(np.float64(logits[n, j]) - largest) / total
            dlogits[n, j] = (probability - (1.0 if j == labels[n] else 0.0)) / images
    return loss / images
