"""Large kernels are compiled once, as C functions, which other kernels call through a symbol.

Numba copies a kernel into every kernel that calls it, and LLVM compiles each copy again.
"""

import ctypes

from llvmlite import binding as llvm
from llvmlite import ir
from numba import config
from numba.core import cgutils, types
from numba.core.compiler_lock import global_compiler_lock

from minisqx.kernels.compiler.cache import KernelCache
from minisqx.kernels.compiler.choice import members
from minisqx.kernels.compiler.options import EXACT
from minisqx.kernels.compiler.tasks import compiles_only

_published: dict = {}


def publish(name: str, signature, function) -> None:
    """Compiles `function` for `signature` (of Numba types) as a C function, or loads it, for calls by `call_published`."""
    with global_compiler_lock:  # a second thread would replace code that kernels of the first one call
        if name in _published or config.DISABLE_JIT:
            return
        if compiles_only():
            # Machine code needs an address of what it calls, and is not run.
            llvm.add_symbol(name, ctypes.cast(ctypes.pythonapi.Py_IsInitialized, ctypes.c_void_p).value)
            return
        _published[name] = members.c_function(function, signature, EXACT, KernelCache(function))
        llvm.add_symbol(name, _published[name].address)


def published(name: str):
    """The published function with this name (`numba.cfunc`), or None."""
    return _published.get(name)


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
