"""A call's arguments as 64-bit words: what a C function gets that knows their types.

An array is the address of NumPy's object, whose fields have their places in NumPy's C interface; a tuple is its members one after
the other; a number is itself.
"""

import ctypes
import struct
from collections.abc import Iterator
from functools import cache

import numpy as np

# Bytes from the beginning of an object to the fields of a PyArrayObject; before them is what every object has.
HEAD = object.__basicsize__
DATA, DIMENSIONS, STRIDES = HEAD, HEAD + 16, HEAD + 24


@cache
def are_arrays_known() -> bool:
    """Whether NumPy's arrays have their fields there."""
    probe = np.zeros((2, 3), np.int16)[:, ::2]
    data, dimensions, strides = (ctypes.c_void_p.from_address(id(probe) + place).value for place in (DATA, DIMENSIONS, STRIDES))
    if data != probe.ctypes.data:
        return False
    pair = ctypes.c_ssize_t * 2
    return (*pair.from_address(dimensions),) == probe.shape and (*pair.from_address(strides),) == probe.strides


def types_of(value) -> str:
    """The types of an argument, or of a tuple of them, in words: all that the machine code depends on.

    Raises TypeError for what isn't taken. Whether an array may be written to doesn't count.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf" or not value.dtype.isnative or not value.flags.aligned:
            raise TypeError(f"an array of {value.dtype.str}, aligned: {value.flags.aligned}: no kernel takes such")
        return f"{value.dtype.name}[{value.ndim}{'C' if value.flags.c_contiguous else 'A'}]"
    if isinstance(value, tuple):
        members = " ".join(map(types_of, value))
        return f"{type(value).__module__}.{type(value).__qualname__}({members})"
    if type(value) in (bool, int, float):
        return type(value).__name__
    raise TypeError(f"{value!r}: no kernel takes a {type(value).__name__}")


def _members(value) -> Iterator:
    if isinstance(value, tuple):
        for member in value:
            yield from _members(member)
    else:
        yield value


def pack(arguments: tuple) -> bytes:
    """The words of the arguments; the arrays must live as long as these are used."""
    flat = list(_members(arguments))
    form = "".join("d" if type(value) is float else "q" for value in flat)
    return struct.pack(form, *(id(value) if isinstance(value, np.ndarray) else value for value in flat))
