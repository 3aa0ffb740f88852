"""Numeric derivatives to hold gradients against: central differences of anything, the complex step of naive functions.

One rule for every tensor, float64: (f(p + h) - f(p - h)) / 2h with h = 5e-6, for parameters and pixels of order 1.
Why this step: rounding gives an error of about 1e-15 / h. The smooth truncation error falls with h squared, but ELU is only
once continuously differentiable: where a step carries one pixel's value across zero, the second derivative jumps, and the
error falls with h alone. A formula of higher order does not help against that jump. On networks of this family, against
exact derivatives, the largest error over a tensor's largest gradient was 1e-4 at h = 1e-3, 3e-6 at 3e-5, 4e-9 to 2e-8 at
1e-5, 5e-9 to 6e-8 at 3e-6 and 1e-7 at 1e-6.

Sampling rule: every element of a tensor of up to `most` elements; of a larger one a random sample of `most`, without
repetition, from a fixed seed.
"""

from collections.abc import Callable

import numpy as np

STEP = 5e-6
COMPLEX_STEP = 1e-30


def relative_difference(numeric: np.ndarray, analytic: np.ndarray, scale: float | None = None) -> float:
    """Largest difference over `scale`, by default the largest of `analytic`; infinity where anything is not a finite number."""
    scale = np.abs(analytic).max() if scale is None else scale
    difference = np.abs(np.asarray(numeric) - np.asarray(analytic)).max() / scale
    return float(difference) if np.isfinite(difference) else np.inf


def sample(size: int, most: int, seed: int = 0) -> np.ndarray:
    """Flat indices of a tensor of `size` elements, by the sampling rule above."""
    if size <= most:
        return np.arange(size)
    return np.sort(np.random.default_rng([seed, size]).choice(size, most, replace=False))


def central_differences(function: Callable[[], float], array: np.ndarray, indices: np.ndarray, step: float = STEP) -> np.ndarray:
    """Derivative of `function()`, which reads `array`, by the elements `indices` of the flattened array. Puts the array back."""
    flat = array.reshape(-1)
    if not np.shares_memory(flat, array):
        raise ValueError("the array must be contiguous, so that the function sees its elements change")
    derivatives = np.empty(len(indices))
    for position, index in enumerate(indices):
        value = flat[index]
        above, below = value + step, value - step
        flat[index] = above
        after = function()
        flat[index] = below
        before = function()
        flat[index] = value
        derivatives[position] = (after - before) / (above - below)
    return derivatives


def complex_step(function: Callable[[np.ndarray], complex], array: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Derivative of `function(array)` by the elements `indices` of the flattened array, exact to rounding: Im f(p + ih) / h.

    The function must be analytic piece by piece, and be made of operations that take complex numbers, as those of `naive.py` are.
    """
    derivatives = np.empty(len(indices))
    for position, index in enumerate(indices):
        shifted = array.astype(np.complex128)
        shifted.reshape(-1)[index] += 1j * COMPLEX_STEP
        derivatives[position] = np.imag(function(shifted)) / COMPLEX_STEP
    return derivatives
