"""An activation along a row. After a convolution, `product` applies it in registers instead, with the same code."""

from numba import types

from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.tiles import plain
from minisqx.kernels.tiles.plain import intrinsic_of
from minisqx.kernels.tiles.simd import Loop, Vectors, data_pointer, for_each_activation


def _activated(out, out_at, x, x_at, activation, columns):
    out[out_at : out_at + columns] = plain.activate(x[x_at : x_at + columns], activation)


@intrinsic_of(_activated)
def _activate_vectors(typing_context, out, out_at, x, x_at, activation, columns):
    index = types.int64
    signature = types.void(out, index, x, index, index, index)

    def generate(context, builder, signature, arguments):
        v = Vectors(builder, signature.args[0].dtype)
        out, x = (data_pointer(context, builder, signature.args[i], arguments[i]) for i in (0, 2))
        _, out_at, _, x_at, activation, columns = arguments

        def emit(activation: int) -> None:
            loop = Loop(builder, "activate", [])
            y = v.activate(v.load(x, builder.add(x_at, loop.index)), activation)
            v.store(y, out, builder.add(out_at, loop.index))
            loop.close([], v.lanes, columns)

        for_each_activation(builder, activation, emit, none=False)
        return context.get_dummy_value()

    return signature, generate


@njit
def activate_row(out, out_at, x, x_at, activation, columns):
    """out[out_at + p] = f(x[x_at + p]) for 0 <= p < `columns`, a multiple of a vector (at least one). activation: the number of
    f, not NO_ACTIVATION.
    """
    _activate_vectors(out, out_at, x, x_at, activation, columns)
