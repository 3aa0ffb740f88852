"""Kernels that are compiled once, as C functions, and called by others through a symbol.

Numba copies a kernel into every kernel that calls it, and LLVM compiles each copy again: too long for large ones.
"""

from llvmlite import binding as llvm
from llvmlite import ir
from numba import config
from numba.core import cgutils, types
from numba.core.compiler_lock import global_compiler_lock

from minisqx.kernels.compiler.cache import KernelCache
from minisqx.kernels.compiler.choice import members
from minisqx.kernels.compiler.options import EXACT

_published: dict = {}


def publish(name: str, signature, function) -> None:
    """Compiles `function` for `signature` (Numba types) as a C function, or loads it, and makes it callable by
    `call_published`.
    """
    with global_compiler_lock:  # a second thread would replace code that the first one's kernels call
        if name in _published or config.DISABLE_JIT:
            return
        _published[name] = members.c_function(function, signature, EXACT, KernelCache(function))
        llvm.add_symbol(name, _published[name].address)


def published(name: str):
    """The C function of that name; None if there is none."""
    return _published.get(name)


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
