"""Softmax cross-entropy: the mean over the batch of -log softmax(logits)[label], and its gradient (softmax - one-hot) / N."""

import numpy as np

from minisqx.kernels.compiler.jit import njit


@njit
def softmax_cross_entropy(dlogits, logits, labels):
    """Writes dlogits (N, classes) and returns the mean loss (float64). The largest logit is subtracted first, so
    nothing overflows.
    """
    images, classes = logits.shape
    loss, exponentials = 0.0, np.empty(classes)
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
        loss += np.log(total) + largest - np.float64(logits[n, labels[n]])
        for j in range(classes):
            dlogits[n, j] = (exponentials[j] / total - (1.0 if j == labels[n] else 0.0)) / images
    return loss / images
