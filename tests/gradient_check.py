"""The complex step: the derivative of a naive function, exact up to rounding, without backpropagation.

Finite differences, which also work for minisqx itself, are in `minisqx/gradcheck.py`.
"""

from collections.abc import Callable

import numpy as np

COMPLEX_STEP = 1e-30


def complex_step(function: Callable[[np.ndarray], complex], array: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """The derivatives of `function(array)` with respect to the elements `indices` of the flattened array: Im f(p + ih) / h.

    For an analytic f that is f'(p) up to terms of order h^2, and without a subtraction h can be so small that they vanish.
    The function must be piecewise analytic, and consist of operations on complex numbers, like those of `naive.py`.
    """
    derivatives = np.empty(len(indices))
    for position, index in enumerate(indices):
        shifted = array.astype(np.complex128)
        shifted.reshape(-1)[index] += 1j * COMPLEX_STEP
        derivatives[position] = np.imag(function(shifted)) / COMPLEX_STEP
    return derivatives
