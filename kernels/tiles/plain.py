"""The kernels without the JIT (`NUMBA_DISABLE_JIT=1`): what stands for vectors, pointers and the tiles made of them.

A kernel is Python, and Python can run it as it stands; a register tile is a code generator, and nothing but Numba can. So each
tile says its meaning, too, a few lines of NumPy: `@intrinsic_of(meaning)` stands above the generator. With the JIT it is an
intrinsic and the meaning is never called; without, it is its meaning. A debugger and a coverage tool then see every line of
every kernel, an index outside an array is an error, and a new tile can be held against what it means.

Slow, a thousand times: for small shapes. Results differ from compiled ones by rounding.
"""

from collections.abc import Callable

import numba
import numpy as np
from numba.extending import intrinsic

from minisqx.kernels.activation import NO_ACTIVATION, check_activation, entry_of


def intrinsic_of(meaning: Callable) -> Callable:
    """Makes an intrinsic of the code generator below it; without the JIT, `meaning`, which takes the same arguments."""
    return lambda generator: meaning if numba.config.DISABLE_JIT else intrinsic(generator)


class Pointer:
    """An address as C has it: a place in a flat array, and all that lies around it. Outside the array is an IndexError."""

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
        """The matrix (rows, columns) that begins here, its rows `stride` elements apart; a view."""
        first = self.array[self._place(0, (rows - 1) * stride + columns) :]
        return np.lib.stride_tricks.as_strided(first, (rows, columns), (stride * first.itemsize, first.itemsize))

    def row(self, count: int) -> np.ndarray:
        return self.block(1, count, count)[0]

    def column(self, count: int) -> np.ndarray:
        """`count` elements as (count, 1): one for each row of a block."""
        return self.block(count, 1, 1)


def addresses(arguments) -> list:
    """Arguments as a C function has them: of an array, also in a structure, the address of its first element."""
    return [_address(argument) for argument in arguments]


def _address(argument):
    if isinstance(argument, np.ndarray):
        return Pointer(argument if argument.ndim == 1 else argument.reshape(-1))
    return type(argument)(*map(_address, argument)) if isinstance(argument, tuple) else argument


def row_of_block(matrix, row: int, block) -> np.ndarray:
    """A row of a `structures.Matrix` or `Chunk` of arrays in a `structures.Block`, as a view."""
    return matrix.data[matrix.at + row * matrix.stride + block.first :][: block.columns]


def block_of(matrix, row: int, column: int, rows: int, columns: int) -> np.ndarray:
    """Rows and columns of a `structures.Matrix` of pointers, as a view."""
    return (matrix.data + matrix.at + row * matrix.stride + column).block(rows, columns, matrix.stride)


def activate(z: np.ndarray, activation: int) -> np.ndarray:
    """`Vectors.activate`; NaN stays NaN."""
    if check_activation(activation) == NO_ACTIVATION:
        return z
    # In float64: NumPy's expm1 of float32 is 2.3 units in the last place off, and 2 are promised.
    return entry_of(activation).values(z.astype(np.float64)).astype(z.dtype)


def activation_backward(g: np.ndarray, y: np.ndarray, activation: int) -> np.ndarray:
    """`Vectors.activation_backward`: g times the activation's slope, from its output y."""
    if check_activation(activation) == NO_ACTIVATION:
        return g
    return entry_of(activation).values_backward(g, y).astype(g.dtype)
