"""Activations along a row. ELU (alpha 1): y = x where x > 0, else expm1(x). ReLU: y = x where x > 0, else 0.

Their derivatives need only y: 1 where y > 0, else y + 1 of an ELU and 0 of a ReLU. Kernels take an activation by its number:
NO_ACTIVATION, ELU or RELU. That of a convolution is applied in the registers of `product`, with the same code.

Source: Clevert, Unterthiner, Hochreiter, "Fast and accurate deep network learning by exponential linear units", 2016, eq. 13.
Cost: about 20 vector instructions a vector for ELU, see `Vectors.elu`.
"""

from numba import types

from minisqx.errors import OptionError
from minisqx.kernels import plain
from minisqx.kernels.jit import njit
from minisqx.kernels.plain import ELU, NO_ACTIVATION, RELU, check_activation, intrinsic_of
from minisqx.kernels.simd import Loop, Vectors, data_pointer, switch

NUMBERS = {None: NO_ACTIVATION, "elu": ELU, "relu": RELU}


def number_of(name: str | None) -> int:
    """The number by which kernels know an activation; raises OptionError for one that they don't have."""
    if name not in NUMBERS:
        raise OptionError(f"activation {name!r}: expected one of {', '.join(map(repr, NUMBERS))}")
    return check_activation(NUMBERS[name])


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

        switch(builder, activation, {each: lambda each=each: emit(each) for each in (ELU, RELU)})
        return context.get_dummy_value()

    return signature, generate


@njit
def activate_row(out, out_at, x, x_at, activation, columns):
    """out[out_at + p] = f(x[x_at + p]) for 0 <= p < `columns`, a multiple of a vector (at least one). activation: the number of
    f, not NO_ACTIVATION.
    """
    _activate_vectors(out, out_at, x, x_at, activation, columns)
