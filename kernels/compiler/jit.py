"""The kernels' interface to Numba: `njit` compiles a kernel, `bound` returns its machine code, `publish` makes C functions."""

import functools

import numba
import numpy as np
import numpy.ma  # else Numba imports it in a kernel's first call, and a child forked meanwhile waits forever for the import lock
from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.compiler_lock import global_compiler_lock

from minisqx.kernels.compiler.alone import run_alone, start_threads
from minisqx.kernels.compiler.cache import KernelCache
from minisqx.kernels.compiler.choice import members

# Only `prange` runs on several threads; by default Numba also parallelises small array expressions. The index of `prange` is a
# uint64; loops convert it to int64, or the kernels they call would be compiled twice.
PRANGE = {"prange": True} | dict.fromkeys(
    ("comprehension", "reduction", "inplace_binop", "setitem", "numpy", "stencil", "fusion"), False
)

# The compiler may neither reorder nor fuse operations. LLVM makes several versions of a loop and chooses by the addresses of the
# arrays, so otherwise the same numbers could give other bits at other addresses. The source states the order of sums
# (`tiles/sums.py`) and fuses explicitly (`simd.multiply_add`). A kernel without these flags would inherit its caller's.
EXACT = {"fastmath": False, "error_model": "numpy"}


class ParallelKernel:
    """A kernel with a parallel `prange`; only one such kernel runs at a time."""

    def __init__(self, kernel):
        self.kernel, self.py_func = kernel, kernel.py_func
        functools.update_wrapper(self, kernel.py_func)

    def __call__(self, *arguments):
        return run_alone(self.kernel, *arguments)


def njit(function=None, *, parallel: bool = False):
    """A decorator that compiles a kernel at its first call with given types, to run without the GIL, and caches it on disk."""
    if function is None:
        return lambda f: njit(f, parallel=parallel)
    options = {"nopython": True, "nogil": True, "boundscheck": False, "parallel": PRANGE if parallel else False, **EXACT}
    if numba.config.DISABLE_JIT:
        # As in compiled code, integers wrap, and division by zero gives infinity without a warning.
        return np.errstate(all="ignore")(function)
    kernel = members.kernel(function, options, KernelCache(function))
    return ParallelKernel(kernel) if parallel else kernel


def bound(kernel, arguments: tuple):
    """The machine code of a kernel for the types of these arguments, to be called repeatedly with arguments of the same types.

    It skips Numba's type inspection at each call, which costs more than a small layer: 10 us for two dozen arguments.
    """
    if numba.config.DISABLE_JIT:
        return kernel
    if isinstance(kernel, ParallelKernel):
        start_threads()
        return functools.partial(run_alone, members.code_of(kernel.kernel, arguments))
    return members.code_of(kernel, arguments)


# Numba copies a kernel into every kernel that calls it, and LLVM compiles each copy again. Large kernels are compiled once
# instead, as C functions, and called through a symbol.
_published: dict = {}


def publish(name: str, signature, function) -> None:
    """Compiles `function` for `signature` (of Numba types) as a C function, or loads it, for calls by `call_published`."""
    with global_compiler_lock:  # a second thread would replace code that kernels of the first one call
        if name in _published or numba.config.DISABLE_JIT:
            return
        _published[name] = members.c_function(function, signature, EXACT, KernelCache(function))
        llvm.add_symbol(name, _published[name].address)


def call_published(context, builder, name: str, signature, arguments: list) -> None:
    """Emits the call of a published function; arrays are passed as the address of their first element."""
    values = []
    for numba_type, value in zip(signature.args, arguments):
        if isinstance(numba_type, types.Array):
            value = context.make_array(numba_type)(context, builder, value).data
        values.append(value)
    function_type = ir.FunctionType(ir.VoidType(), [value.type for value in values])
    function = cgutils.get_or_insert_function(builder.module, function_type, name)
    builder.call(function, values)
