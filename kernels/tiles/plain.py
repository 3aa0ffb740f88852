"""Kernels without the JIT (`NUMBA_DISABLE_JIT=1`): replacements for vectors, pointers and tiles.

Python can run a kernel as it is written, but a register tile is a code generator, which only Numba can run. So each tile has a
meaning, a few lines of NumPy, in the decorator `@intrinsic_of(meaning)` of its generator. With the JIT the tile is an intrinsic,
and the meaning is never called; without it, the tile is its meaning. Debuggers and coverage tools then see every line of every
kernel, an index outside an array is an error, and tests can compare a tile with its meaning.

This is a thousand times slower, for small shapes only. Results differ from compiled ones by rounding.
"""

from collections.abc import Callable

import numba
import numpy as np
from numba.extending import intrinsic

from minisqx.kernels.activation import NO_ACTIVATION, check_activation, entry_of


def intrinsic_of(meaning: Callable) -> Callable:
    """A decorator that makes a code generator an intrinsic; without the JIT it returns `meaning`, with the same arguments."""
    return lambda generator: meaning if numba.config.DISABLE_JIT else intrinsic(generator)


class Pointer:
    """A C pointer: a position in a flat array. Access outside the array raises IndexError."""

    def __init__(self, array: np.ndarray, at: int = 0):
        self.array, self.at = array, int(at)

    def __add__(self, offset) -> "Pointer":
        return Pointer(self.array, self.at + offset)

    def _place(self, offset, length: int = 1) -> int:
        place = self.at + int(offset)
        if not 0 <= place <= self.array.size - length:
            raise IndexError(f"elements {place} to {place + length} of an array of {self.array.size}")
        return place

    def __getitem__(self, offset):
        return self.array[self._place(offset)]

    def __setitem__(self, offset, value):
        self.array[self._place(offset)] = value

    def block(self, rows: int, columns: int, stride: int) -> np.ndarray:
        """A view of the matrix (rows, columns) that starts here, with rows `stride` elements apart."""
        first = self.array[self._place(0, (rows - 1) * stride + columns) :]
        return np.lib.stride_tricks.as_strided(first, (rows, columns), (stride * first.itemsize, first.itemsize))

    def row(self, count: int) -> np.ndarray:
        return self.block(1, count, count)[0]

    def column(self, count: int) -> np.ndarray:
        """`count` elements as (count, 1): one for each row of a block."""
        return self.block(count, 1, 1)


def addresses(arguments) -> list:
    """The arguments of a C function: arrays, also in structures, are replaced by pointers to their first element."""
    return [_address(argument) for argument in arguments]


def _address(argument):
    if isinstance(argument, np.ndarray):
        return Pointer(argument if argument.ndim == 1 else argument.reshape(-1))
    return type(argument)(*map(_address, argument)) if isinstance(argument, tuple) else argument


def row_of_block(matrix, row: int, block) -> np.ndarray:
    """A view of the pixels of a `structures.Block` in a row of a `structures.Matrix` or `Chunk` of arrays."""
    return matrix.data[matrix.at + row * matrix.stride + block.first :][: block.columns]


def block_of(matrix, row: int, column: int, rows: int, columns: int) -> np.ndarray:
    """A view of rows and columns of a `structures.Matrix` of pointers."""
    return (matrix.data + matrix.at + row * matrix.stride + column).block(rows, columns, matrix.stride)


def activate(z: np.ndarray, activation: int) -> np.ndarray:
    """`Vectors.activate`; NaN stays NaN."""
    if check_activation(activation) == NO_ACTIVATION:
        return z
    # In float64, because NumPy's expm1 of float32 has errors of up to 2.3 units in the last place, and 2 are promised.
    return entry_of(activation).values(z.astype(np.float64)).astype(z.dtype)


def activation_backward(g: np.ndarray, y: np.ndarray, activation: int) -> np.ndarray:
    """`Vectors.activation_backward`: g times the activation's slope, from its output y."""
    if check_activation(activation) == NO_ACTIVATION:
        return g
    return entry_of(activation).values_backward(g, y).astype(g.dtype)
