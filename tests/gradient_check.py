"""The complex step: the derivative of a naive function, exact to rounding and without a line of backprop.

Differences, which work for the product, too, are in `minisqx/gradcheck.py`.
"""

from collections.abc import Callable

import numpy as np

COMPLEX_STEP = 1e-30


def complex_step(function: Callable[[np.ndarray], complex], array: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Derivative of `function(array)` by the elements `indices` of the flattened array: Im f(p + ih) / h.

    For an analytic f that is f'(p) up to terms of h squared, and since nothing is subtracted, h can be so small that they vanish.
    The function must be analytic piece by piece, and be made of operations that take complex numbers, as those of `naive.py` are.
    """
    derivatives = np.empty(len(indices))
    for position, index in enumerate(indices):
        shifted = array.astype(np.complex128)
        shifted.reshape(-1)[index] += 1j * COMPLEX_STEP
        derivatives[position] = np.imag(function(shifted)) / COMPLEX_STEP
    return derivatives
