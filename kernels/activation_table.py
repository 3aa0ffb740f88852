"""The activations. Each entry of `ACTIVATIONS` has everything about one of them.

Tiles, row kernels, layers, specs, options and pictures read this table, so adding an activation means adding one class here.
`minisqx.spec.activations` loads this file without the package, so it must not import anything slow.

An entry has four functions. `vectors` and `vectors_backward` emit code for a vector (v is a `simd.Vectors`); `values` and
`values_backward` compute the same for NumPy arrays, for kernels without the JIT and for inspection. The backward functions
multiply the gradient g by the slope, which must follow from the output y alone, since the input is not stored. NaN stays NaN.

Source: Clevert, Unterthiner, Hochreiter, "Fast and accurate deep network learning by exponential linear units", 2016, eq. 13.
"""

import math


class ELU:
    """y = x where x > 0, else expm1(x); the slope is 1 where y > 0, else y + 1."""

    name, title = "elu", "ELU"

    @staticmethod
    def vectors(v, z):
        """Within 2 units in the last place, in 16 vector instructions in float32.

        expm1 by the usual reduction: z = n ln 2 + r with |r| <= ln 2 / 2, then expm1(z) = 2^n expm1(r) + (2^n - 1),
        which keeps the relative accuracy near 0, where n = 0. The error of n ln 2 grows with -n, but 2^n divides it.
        expm1(r) is r + r^2 p(r) with the polynomial p of `_terms`. Adding 1.5 * 2^mantissa rounds z / ln 2 to the
        integer n and leaves n in the low bits, so a shift alone makes 2^n.
        """
        single = v.bytes == 4
        mantissa, lowest = (23, -87.0) if single else (52, -708.0)
        b, multiply_add = v.builder, v.multiply_add
        zero, one = v.constant(0.0), v.constant(1.0)
        clamped = v.minimum(z, zero)
        clamped = v.maximum(clamped, v.constant(lowest))
        magic = v.constant(1.5 * 2.0**mantissa)
        shifted = multiply_add(clamped, v.constant(1.0 / math.log(2.0)), magic)
        n = b.fsub(shifted, magic)
        r = multiply_add(n, v.constant(-math.log(2.0)), clamped)
        polynomial, *lower = map(v.constant, reversed(ELU._terms(single)))
        for term in lower:
            polynomial = multiply_add(polynomial, r, term)
        expm1_r = multiply_add(b.fmul(r, r), polynomial, r)
        exponent = b.shl(b.bitcast(shifted, v.bits), v.integer(mantissa))
        scale = b.bitcast(b.add(exponent, b.bitcast(one, v.bits)), v.vector)
        negative = multiply_add(scale, expm1_r, b.fsub(scale, one))
        # expm1(z) >= z: the larger is the right one on both sides of 0.
        return v.maximum(negative, z)

    @staticmethod
    def _terms(single: bool) -> list[float]:
        """The coefficients of (expm1(r) - r) / r^2 for |r| <= ln 2 / 2, the constant one first.

        In float64 it is the Taylor polynomial to the degree whose remainder is below the rounding error. In float32 it is the
        polynomial of degree 4 whose largest error, relative to expm1(r), is least (1.3e-8): one degree less than Taylor's.
        """
        if single:
            return [0.49999998, 0.16666544, 0.0416672, 0.00836652, 0.00138825]
        return [1.0 / math.factorial(power) for power in range(2, 14)]

    @staticmethod
    def vectors_backward(v, g, y):
        one = v.constant(1.0)
        return v.builder.fmul(g, v.minimum(v.builder.fadd(y, one), one))

    @staticmethod
    def values(z):
        import numpy as np

        return np.where(z > 0, z, np.expm1(np.minimum(z, 0)))

    @staticmethod
    def values_backward(g, y):
        import numpy as np

        return g * np.minimum(y + 1, 1)


class ReLU:
    """y = x where x > 0, else 0; the slope is 1 where y > 0, else 0."""

    name, title = "relu", "ReLU"

    @staticmethod
    def vectors(v, z):
        zero = v.constant(0.0)
        return v.select("<", z, zero, zero, z)

    @staticmethod
    def vectors_backward(v, g, y):
        zero = v.constant(0.0)
        return v.select(">", y, zero, g, zero)

    @staticmethod
    def values(z):
        import numpy as np

        return np.where(z < 0, 0, z)

    @staticmethod
    def values_backward(g, y):
        import numpy as np

        return np.where(y > 0, g, 0)


# The number of an activation is its position here, from 1; 0 is none. Checkpoints store names, so the order may change.
ACTIVATIONS = (ELU, ReLU)
NO_ACTIVATION = 0
