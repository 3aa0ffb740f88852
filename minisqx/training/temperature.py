"""The temperature that makes a network's probabilities honest: with it, of the answers at 90 % about nine in ten are right."""

import numpy as np

from minisqx.checkpoint import TEMPERATURES

STEPS = 24  # of bisection: the temperature is then known to a millionth of itself


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T at which softmax(logits / T) has the least cross-entropy, within `TEMPERATURES`.

    logits: (N, classes), of images that were not trained on. labels: integers (N,).

    1 / T is expected to be 1, give or take 1, as if it had a normal prior: (1 / T - 1)^2 / 2 is added to the sum of the losses of
    all images. Many images outweigh it. Without it, a network that is right on all of a few images would get a T near 0, and be
    sure of everything. The sum is convex in 1 / T, so there is one minimum.

    Source: Guo et al., "On Calibration of Modern Neural Networks" (2017), section 4.2, but for the prior.
    """
    images, classes = logits.shape
    if classes == 1:
        return 1.0
    z = logits.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    truth = z[np.arange(images), labels].sum()
    low, high = (np.log(1 / each) for each in reversed(TEMPERATURES))
    for _ in range(STEPS):
        middle = (low + high) / 2
        inverse = np.exp(middle)
        powers = np.exp(inverse * z)
        slope = ((powers * z).sum(axis=1) / powers.sum(axis=1)).sum() - truth + inverse - 1
        low, high = (low, middle) if slope > 0 else (middle, high)
    return float(f"{np.exp(-(low + high) / 2):.4g}")
