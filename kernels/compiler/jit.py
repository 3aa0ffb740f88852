"""What kernels are written with: `njit` compiles one, `bound` gives its machine code, `publish` makes a C function of it."""

import functools

import numba
import numpy as np
import numpy.ma  # Numba would at a kernel's first call: a fork in that moment left its child waiting for the import's lock
from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.compiler_lock import global_compiler_lock

from minisqx.kernels.compiler.alone import run_alone
from minisqx.kernels.compiler.cache import KernelCache
from minisqx.kernels.compiler.choice import members

# Only `prange` runs on several threads: Numba would also spread each small array expression. Its index is a uint64; loops make
# an int64 of it, or every kernel that they call would be compiled a second time.
PRANGE = {"prange": True} | dict.fromkeys(
    ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion"), False
)

# The compiler may neither reorder nor fuse operations. LLVM makes several versions of a loop and chooses among them by where the
# arrays lie, so with such freedom the same numbers give other bits at other addresses. The source spells out the order of a sum
# (`tiles/sums.py`) and what is fused (`simd.multiply_add`). A kernel that does not say so inherits the flags of its caller.
EXACT = {"fastmath": False, "error_model": "numpy"}


class ParallelKernel:
    """A kernel that spreads its `prange` over several threads, one such kernel at a time."""

    def __init__(self, kernel):
        self.kernel, self.py_func = kernel, kernel.py_func
        functools.update_wrapper(self, kernel.py_func)

    def __call__(self, *arguments):
        return run_alone(self.kernel, *arguments)


def njit(function=None, *, parallel: bool = False):
    """Compiles a kernel on its first call with given types, without the interpreter's lock, and keeps the machine code."""
    if function is None:
        return lambda f: njit(f, parallel=parallel)
    options = {"nopython": True, "nogil": True, "boundscheck": False, "parallel": PRANGE if parallel else False, **EXACT}
    if numba.config.DISABLE_JIT:
        # As compiled code: a counter wraps, a division by zero is infinite, and nobody is warned.
        return np.errstate(all="ignore")(function)
    kernel = members.kernel(function, options, KernelCache(function))
    return ParallelKernel(kernel) if parallel else kernel


def bound(kernel, arguments: tuple):
    """The machine code of a kernel for the types of these arguments, to be called again and again with others of the same types.

    Numba finds out the type of every argument at every call, which costs more than a small layer: 10 us for two dozen of them.
    """
    if numba.config.DISABLE_JIT:
        return kernel
    if isinstance(kernel, ParallelKernel):
        return functools.partial(run_alone, members.code_of(kernel.kernel, arguments))
    return members.code_of(kernel, arguments)


# Numba copies a kernel into every kernel that calls it, and LLVM compiles each copy again. Large ones are compiled
# once, as C functions, and called through a symbol.
_published: dict = {}


def publish(name: str, signature, function) -> None:
    """Compiles `function` for `signature` (Numba types) as a C function, or loads it, and makes it callable by
    `call_published`.
    """
    with global_compiler_lock:  # a second thread would replace code that the first one's kernels call
        if name in _published or numba.config.DISABLE_JIT:
            return
        _published[name] = members.c_function(function, signature, EXACT, KernelCache(function))
        llvm.add_symbol(name, _published[name].address)


def call_published(context, builder, name: str, signature, arguments: list) -> None:
    """Emits the call of a published function; an array passes the address of its first element."""
    values, kinds = [], []
    for kind, value in zip(signature.args, arguments):
        if isinstance(kind, types.Array):
            value = context.make_array(kind)(context, builder, value).data
        values.append(value)
        kinds.append(value.type)
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), kinds), name)
    builder.call(function, values)
