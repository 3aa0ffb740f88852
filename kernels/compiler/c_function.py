"""Compiles a kernel as the C function that an `Entry` calls (`entry.py`), and keeps an image of it."""

import hashlib
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
from minisqx.kernels.compiler.identity import has_usual_settings, settings
from minisqx.kernels.compiler.options import EXACT
from minisqx.kernels.compiler.published import published
from minisqx.kernels.compiler.words import DATA, DIMENSIONS, STRIDES

_RESULTS = {None: types.void, bool: types.boolean, int: types.int64, float: types.float64}
_WORD = types.int64


def compiled(kernel, name: str, text: str, arguments: tuple, result: type | None):
    """The C function (`numba.cfunc`) of a kernel for arguments of the types `text`: it takes the address of their words.

    name: the entry's, for its image. result: the type of what it returns.
    """
    unpacked = _unpacking(tuple(map(_kind, arguments)))

    def call(words):
        return kernel(*unpacked(words))

    # Numba makes a symbol of the name, and one name in two pieces of machine code would be one function.
    call.__name__ = call.__qualname__ = f"{kernel.__name__}_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    call.__module__ = kernel.__module__
    with global_compiler_lock:
        made = members.c_function(call, _RESULTS[result](types.CPointer(_WORD)), EXACT, KernelCache(call))
        if image.are_possible() and has_usual_settings() and _are_usual(numba.config):
            image.keep(name, text, lambda: _linked(made))
    return made


def _kind(value):
    """The type that Numba compiles for."""
    if isinstance(value, np.ndarray):
        return types.Array(numba.from_dtype(value.dtype), value.ndim, "C" if value.flags.c_contiguous else "A")
    if isinstance(value, tuple):
        return types.BaseTuple.from_types(tuple(map(_kind, value)), type(value))
    return numba.typeof(value)


def _unpacking(kinds: tuple):
    """A function that makes arguments of these types of their words."""

    @intrinsic
    def unpacked(typing_context, words):
        together = types.Tuple(kinds)

        def generate(context, builder, signature, arguments):
            place = 0

            def value(kind):
                nonlocal place
                if isinstance(kind, types.BaseTuple):
                    return context.make_tuple(builder, kind, [value(member) for member in kind.types])
                to = context.get_value_type(types.float64 if kind == types.float64 else _WORD)
                word = _load(builder, arguments[0], 8 * place, to)
                place += 1
                if isinstance(kind, types.Array):
                    return _array(context, builder, kind, word)
                return context.cast(builder, word, _WORD, kind) if kind == types.boolean else word

            return context.make_tuple(builder, together, [value(kind) for kind in kinds])

        return together(words), generate

    return unpacked


def _load(builder, address, offset: int, kind):
    """What lies so many bytes behind an address."""
    return builder.load(cgutils.pointer_add(builder, address, offset, kind.as_pointer()))


def _array(context, builder, kind, word):
    """An array as Numba has it, of the address of NumPy's; without a reference, since the caller has one."""
    integer = context.get_value_type(_WORD)
    numpys = builder.inttoptr(word, cgutils.voidptr_t)
    made = context.make_array(kind)(context, builder)
    made.data = _load(builder, numpys, DATA, made.data.type)
    itemsize = context.get_constant(_WORD, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    lengths, steps = (_load(builder, numpys, place, integer.as_pointer()) for place in (DIMENSIONS, STRIDES))
    shape = [_load(builder, lengths, 8 * axis, integer) for axis in range(kind.ndim)]
    count, strides = context.get_constant(_WORD, 1), []
    for length in reversed(shape):
        strides.insert(0, builder.mul(count, itemsize))
        count = builder.mul(count, length)
    if kind.layout != "C":
        strides = [_load(builder, steps, 8 * axis, integer) for axis in range(kind.ndim)]
    made.shape, made.strides = (cgutils.pack_array(builder, values, integer) for values in (shape, strides))
    made.itemsize, made.nitems = itemsize, count
    made.meminfo, made.parent = (cgutils.get_null_value(getattr(made, each).type) for each in ("meminfo", "parent"))
    return made._getvalue()


def _linked(made) -> image.Image | None:
    """The image of a C function; None if it calls more than what was published."""
    file = members.object_file(made)
    callees = {name: function for name in link.undefined(file) if (function := published(name)) is not None}
    files = [file, *map(members.object_file, callees.values())]
    try:
        return link.link(files, made.native_name, {name: function.native_name for name, function in callees.items()})
    except link.Unlinkable:
        return None


@cache
def _usual_settings() -> dict:
    """Numba's settings that change code as they are in a process whose program changes none: those of its file, read anew."""
    spec = find_spec("numba.core.config")
    assert spec is not None and spec.loader is not None
    config = module_from_spec(spec)
    spec.loader.exec_module(config)
    return settings(config)


def _are_usual(config) -> bool:
    # Numba itself adds what it finds when it is imported.
    return settings(config) | _usual_settings() == settings(config)
