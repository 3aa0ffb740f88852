"""An exchange between processes as a stage of a task: starts a persistent MPI operation and waits until it is complete.

So a pass stays one call, without Python between its stages, also where several processes compute it. Which arrays are exchanged
was settled when the operation was made (`minisqx/mpi.py`); the stage knows only addresses.
"""

import ctypes

from llvmlite import ir
from numba import types

from minisqx.kernels.compiler.jit import njit
from minisqx.kernels.compiler.tasks import Task
from minisqx.kernels.tiles.plain import intrinsic_of

_ADDRESS = ir.IntType(64)


def _called(code, first, second):
    ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(code)(first, second)


@intrinsic_of(_called)
def _call(typing_context, code, first, second):
    """Calls the C function at the address `code` with two addresses; one that takes a single address ignores the second."""

    def generate(context, builder, signature, arguments):
        function = ir.FunctionType(ir.IntType(32), [_ADDRESS, _ADDRESS])
        builder.call(builder.inttoptr(arguments[0], function.as_pointer()), arguments[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 3), generate


@njit
def start_and_wait(start, wait, request, status):
    """The only stage of `exchange`."""
    _call(start, request, status)
    _call(wait, request, status)


# exchange(start, wait, request, status): the addresses of MPI_Start and MPI_Wait, of a persistent request, and of memory for its
# status. An error ends the program, as the request's communicator is set to do.
exchange = Task(start_and_wait)
