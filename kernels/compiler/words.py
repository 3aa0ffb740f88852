"""The arguments of a kernel as 64-bit words, which its C function takes.

The word of an array is the address of NumPy's object, whose fields are part of NumPy's C interface (PyArrayObject); a tuple is
its members one after the other; the word of a number is the number.
"""

import ctypes
import struct
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np

# Offsets of fields in a PyArrayObject, in bytes. Every Python object starts with the same head.
_HEAD = object.__basicsize__
DATA, DIMENSIONS, STRIDES = _HEAD, _HEAD + 16, _HEAD + 24


@cache
def are_offsets_right() -> bool:
    """Whether this NumPy's arrays have their fields at these offsets."""
    probe = np.zeros((2, 3), np.int16)[:, ::2]
    data, dimensions, strides = (ctypes.c_void_p.from_address(id(probe) + offset).value for offset in (DATA, DIMENSIONS, STRIDES))
    if data != probe.ctypes.data:
        return False
    pair = ctypes.c_ssize_t * 2
    return (*pair.from_address(dimensions),) == probe.shape and (*pair.from_address(strides),) == probe.strides


def key_of(value):
    """A key that is equal for arguments of the same types, in a fraction of the time of `types_of`."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.ndim, value.flags.c_contiguous, value.flags.aligned
    return (type(value), *map(key_of, value)) if isinstance(value, tuple) else type(value)


def types_of(value) -> str:
    """The types of an argument, or of a tuple of arguments, as text. Machine code depends on nothing else of them.

    An array's type doesn't say whether it can be written to. Raises TypeError for an argument that no C function takes.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf" or not value.dtype.isnative or not value.flags.aligned:
            raise TypeError(f"array of dtype {value.dtype.str}, aligned: {value.flags.aligned}: expected aligned native numbers")
        return f"{value.dtype.name}[{value.ndim}{'C' if value.flags.c_contiguous else 'A'}]"
    if isinstance(value, tuple):
        return f"{type(value).__module__}.{type(value).__qualname__}({' '.join(map(types_of, value))})"
    for scalar in (bool, float, int):
        if isinstance(value, scalar):
            return scalar.__name__
    raise TypeError(f"{value!r}: expected an array, a tuple, a bool, an int or a float")


def members_of(arguments: tuple) -> Iterator:
    """The arrays and numbers in a tuple, one after the other."""
    for argument in arguments:
        if isinstance(argument, tuple):
            yield from members_of(argument)
        else:
            yield argument


def word_of(argument):
    """The word of an array, while the array lives; a number is its own."""
    return id(argument) if isinstance(argument, np.ndarray) else argument


def pack_of(arguments: tuple) -> Callable[..., bytes]:
    """The function that puts the words of arguments of the same types side by side."""
    return struct.Struct("".join("d" if isinstance(argument, float) else "q" for argument in members_of(arguments))).pack


def words_of(arguments: tuple) -> bytes:
    """The words of arguments. While the arrays live, equal words are the same arrays and numbers."""
    return pack_of(arguments)(*map(word_of, members_of(arguments)))
