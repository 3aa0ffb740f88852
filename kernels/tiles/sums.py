"""Sums along a row, in float64 and in a defined order.

The compiler may not reorder a sum (`options.EXACT`), and in a single chain each addition waits for the previous one. So element
i is added to chain i % CHAINS, and the chains are added in pairs. The number of chains does not depend on the CPU. Other
kernels use plain loops for short sums.
"""

import numpy as np
from numba import types

from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.tiles.plain import intrinsic_of
from minisqx.kernels.tiles.simd import Loop, Vectors, data_pointer

CHAINS = 8


def _sum_of(products: bool):
    """The sum of x or, if `products`, of x * y, over a `count` that is a multiple of CHAINS, at least one."""

    def meaning(x, x_at, y, y_at, count):
        values = x[x_at : x_at + count].astype(np.float64)
        if products:
            values = values * y[y_at : y_at + count]
        chains = np.zeros(CHAINS)
        for p in range(0, count, CHAINS):
            chains += values[p : p + CHAINS]
        while chains.size > 1:
            chains = chains[: chains.size // 2] + chains[chains.size // 2 :]
        return chains[0]

    @intrinsic_of(meaning)
    def summed(typing_context, x, x_at, y, y_at, count):
        def generate(context, builder, signature, arguments):
            narrow, wide = (Vectors(builder, element, CHAINS) for element in (x.dtype, types.float64))

            def load(which: int):
                base = data_pointer(context, builder, signature.args[which], arguments[which])
                value = narrow.load(base, builder.add(arguments[which + 1], loop.index))
                return value if x.dtype == types.float64 else builder.fpext(value, wide.vector)

            loop = Loop(builder, "chains", [wide.constant(0.0)])
            (chains,) = loop.values
            chains = wide.multiply_add(load(0), load(2), chains) if products else builder.fadd(load(0), chains)
            loop.close([chains], CHAINS, arguments[4])
            return wide.sum(chains)

        return types.float64(x, types.int64, y, types.int64, types.int64), generate

    return summed


_total, _dot = _sum_of(products=False), _sum_of(products=True)


@njit
def total(x, at, count):
    """The sum of x[at + i] for 0 <= i < `count`; x flat."""
    whole = count - count % CHAINS
    found = 0.0
    if whole > 0:
        found = _total(x, at, x, at, whole)
    for i in range(at + whole, at + count):
        found += np.float64(x[i])
    return found


@njit
def dot(x, x_at, y, y_at, count):
    """The sum of x[x_at + i] * y[y_at + i] for 0 <= i < `count`; x and y flat and of one dtype."""
    whole = count - count % CHAINS
    found = 0.0
    if whole > 0:
        found = _dot(x, x_at, y, y_at, whole)
    for i in range(whole, count):
        found += np.float64(x[x_at + i]) * np.float64(y[y_at + i])
    return found
