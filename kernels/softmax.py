"""The parts of a softmax that NumPy does slowly for few numbers; its exponentials and sums are NumPy's.

    shift(powers, logits);  np.exp(powers, powers);  normalise(powers, powers.sum(axis=1))

Another library's exponential would differ in a last bit now and then: NumPy's is vector code made for the CPU.
"""

import numpy as np

from minisqx.kernels.compiler.jit import entry


@entry
def shift(shifted, logits) -> bool:
    """Writes shifted (N, classes) float64: logits (N, classes) less the largest of their image, so that no exponential overflows.

    Returns whether all logits are finite.
    """
    finite = True
    for n in range(logits.shape[0]):
        largest = logits[n, 0]
        for j in range(logits.shape[1]):
            finite &= np.isfinite(logits[n, j])
            largest = max(largest, logits[n, j])
        for j in range(logits.shape[1]):
            shifted[n, j] = np.float64(logits[n, j]) - np.float64(largest)
    return finite


@entry
def normalise(powers, totals):
    """Divides powers (N, classes) by totals (N,), both float64."""
    for n in range(powers.shape[0]):
        for j in range(powers.shape[1]):
            powers[n, j] /= totals[n]
