"""ELU (alpha 1) along a row: y = x where x > 0, else expm1(x). Its derivative needs only y: 1 where y > 0, else y + 1.

Source: Clevert, Unterthiner, Hochreiter, "Fast and accurate deep network learning by exponential linear units", 2016, eq. 13.
Cost: about 20 vector instructions a vector, see `Vectors.elu`.
"""

from numba import types
from numba.extending import intrinsic

from minisqx.kernels.jit import njit
from minisqx.kernels.simd import Loop, Vectors, data_pointer


@intrinsic
def _elu_vectors(typing_context, out, out_at, x, x_at, columns):
    index = types.int64
    signature = types.void(out, index, x, index, index)

    def generate(context, builder, signature, arguments):
        v = Vectors(builder, signature.args[0].dtype)
        out, x = (data_pointer(context, builder, signature.args[i], arguments[i]) for i in (0, 2))
        loop = Loop(builder, "elu", [])
        y = v.elu(v.load(x, builder.add(arguments[3], loop.index)))
        v.store(y, out, builder.add(arguments[1], loop.index))
        loop.close([], v.lanes, arguments[4])
        return context.get_dummy_value()

    return signature, generate


@njit(fastmath=False)
def elu_row(out, out_at, x, x_at, columns):
    """out[out_at + p] = ELU(x[x_at + p]) for 0 <= p < `columns`, a multiple of a vector (at least one)."""
    _elu_vectors(out, out_at, x, x_at, columns)
