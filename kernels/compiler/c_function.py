"""Compiles a kernel as the C function that an `Entry` calls, and saves an image of it."""

import hashlib
import itertools
from functools import cache
from importlib.util import find_spec, module_from_spec

import numba
import numpy as np
from numba.core import cgutils, types
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

from minisqx.kernels.compiler import image, link
from minisqx.kernels.compiler.cache import KernelCache
from minisqx.kernels.compiler.choice import members
from minisqx.kernels.compiler.identity import has_default_settings, settings
from minisqx.kernels.compiler.options import EXACT
from minisqx.kernels.compiler.published import published
from minisqx.kernels.compiler.words import DATA, DIMENSIONS, STRIDES, types_of
from minisqx.kernels.structures import Place

_RESULTS = {None: types.void, bool: types.boolean, int: types.int64, float: types.float64}
_WORD = types.int64


def compile_entry(kernel, name: str, arguments: tuple, result: type | None):
    """The C function (`numba.cfunc`) of a kernel for arguments of these types, which takes the address of their words.

    name: of the kernel's image, which is saved. result: the type of what the kernel returns.
    """
    argument_types = types_of(arguments)
    unpack = _unpacking(tuple(map(_numba_type, arguments)))

    def call(words):
        return kernel(*unpack(words))

    _name(call, kernel, argument_types)
    with global_compiler_lock:
        function = members.c_function(call, _RESULTS[result](types.CPointer(_WORD)), EXACT, KernelCache(call))
        if has_default_settings() and _are_default(numba.config):
            image.save(name, argument_types, lambda: _linked(function))
    return function


def compile_stage(kernel, arguments: tuple, is_shared: bool):
    """The C function (`numba.cfunc`) of a task's stage for arguments of these types.

    It takes the address of their words, a piece and a thread, which the kernel gets as a `Place` if it is shared.
    """
    argument_types = types_of(arguments)
    unpack = _unpacking(tuple(map(_numba_type, arguments)))

    def call_shared(words, piece, thread):
        kernel(*(unpack(words) + (Place(piece, thread),)))

    def call(words, piece, thread):
        kernel(*unpack(words))

    function = call_shared if is_shared else call
    _name(function, kernel, argument_types)
    with global_compiler_lock:
        signature = types.void(types.CPointer(_WORD), _WORD, _WORD)
        return members.c_function(function, signature, EXACT, KernelCache(function))


def _name(function, kernel, argument_types: str) -> None:
    # Numba makes a symbol of the name, and two functions with the same symbol would be taken for one.
    function.__name__ = function.__qualname__ = f"{kernel.__name__}_{hashlib.sha256(argument_types.encode()).hexdigest()[:16]}"
    function.__module__ = kernel.__module__


def _numba_type(value):
    if isinstance(value, np.ndarray):
        return types.Array(numba.from_dtype(value.dtype), value.ndim, "C" if value.flags.c_contiguous else "A")
    if isinstance(value, tuple):
        return types.BaseTuple.from_types(tuple(map(_numba_type, value)), type(value))
    return numba.typeof(value)


def _unpacking(argument_types: tuple):
    """A function that makes a tuple of arguments of these types from the address of their words."""
    arguments_type = types.Tuple(argument_types)

    @intrinsic
    def unpack(typing_context, words):
        def generate(context, builder, signature, arguments):
            offsets = itertools.count(0, _WORD.bitwidth // 8)

            def value(of):
                if isinstance(of, types.BaseTuple):
                    return context.make_tuple(builder, of, [value(member) for member in of.types])
                word_type = of if of == types.float64 else _WORD
                word = _load(builder, arguments[0], next(offsets), context.get_value_type(word_type))
                if isinstance(of, types.Array):
                    return _array(context, builder, of, word)
                return context.cast(builder, word, word_type, of)

            return value(arguments_type)

        return arguments_type(words), generate

    return unpack


def _load(builder, address, offset: int, value_type):
    """The value at an address plus an offset in bytes."""
    return builder.load(cgutils.pointer_add(builder, address, offset, value_type.as_pointer()))


def _array(context, builder, array_type, word):
    """Numba's structure for the NumPy array at the address `word`. It doesn't count as a reference: the caller has one."""
    integer = context.get_value_type(_WORD)
    size = _WORD.bitwidth // 8
    numpy_array = builder.inttoptr(word, cgutils.voidptr_t)
    made = context.make_array(array_type)(context, builder)
    itemsize = context.get_constant(_WORD, context.get_abi_sizeof(context.get_data_type(array_type.dtype)))
    dimensions, steps = (_load(builder, numpy_array, offset, integer.as_pointer()) for offset in (DIMENSIONS, STRIDES))
    shape = [_load(builder, dimensions, size * axis, integer) for axis in range(array_type.ndim)]
    # Computed, so that the compiler knows that a row is contiguous.
    count, strides = context.get_constant(_WORD, 1), []
    for length in reversed(shape):
        strides.insert(0, builder.mul(count, itemsize))
        count = builder.mul(count, length)
    if array_type.layout != "C":
        strides = [_load(builder, steps, size * axis, integer) for axis in range(array_type.ndim)]
    made.data = _load(builder, numpy_array, DATA, made.data.type)
    made.shape, made.strides = (cgutils.pack_array(builder, values, integer) for values in (shape, strides))
    made.itemsize, made.nitems = itemsize, count
    made.meminfo, made.parent = (cgutils.get_null_value(getattr(made, each).type) for each in ("meminfo", "parent"))
    return made._getvalue()


def _linked(function) -> image.Image | None:
    """The image of a C function; None if it calls anything but published functions."""
    file = members.object_file(function)
    callees = {name: callee for name in link.undefined(file) if (callee := published(name)) is not None}
    files = [file, *map(members.object_file, callees.values())]
    try:
        return link.link(files, function.native_name, {name: callee.native_name for name, callee in callees.items()})
    except link.LinkError:
        return None


@cache
def _default_settings() -> dict[str, str]:
    """Numba's settings as its file sets them in this process, whatever the program has changed since."""
    spec = find_spec("numba.core.config")
    assert spec is not None and spec.loader is not None
    config = module_from_spec(spec)
    spec.loader.exec_module(config)
    return settings(config)


def _are_default(config) -> bool:
    # Numba adds settings of its own when it is imported.
    return settings(config) | _default_settings() == settings(config)
