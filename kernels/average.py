"""One step of an exponential moving average, on flat arrays: average = average + rate (values - average).

Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging" (1992), with exponential weights.
"""

from minisqx.kernels.compiler.jit import njit


@njit
def step(average, values, rate):
    """Moves `average` towards `values` by the share `rate` of their difference; both flat and of one dtype."""
    share = average.dtype.type(rate)
    for i in range(average.size):
        average[i] += share * (values[i] - average[i])
