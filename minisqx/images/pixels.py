"""An image that is read a strip at a time in plain colours, and what is made of it: the whole image, or one of another size."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from minisqx.kernels import resize
from minisqx.kernels.compiler.jit import bound
from minisqx.kernels.resize import REACH, Window

# Pixels that are converted at a time: few enough that intermediate results stay in the second-level cache, and in memory that the
# C library keeps for the next strip.
STRIP_PIXELS = 1 << 15

# (height, width)
Size = tuple[int, int]


class Turn(NamedTuple):
    """How a stored image is turned upright: its rows and columns are reversed, then swapped."""

    rows_reversed: bool = False
    columns_reversed: bool = False
    swapped: bool = False


class Strip(NamedTuple):
    """Rows of an image, uint8 (rows, columns, channels), C-contiguous, and the column at which those asked for begin."""

    pixels: np.ndarray
    left: int = 0


class Pixels(NamedTuple):
    """An image as it is stored.

    size: its height and width. channels: 1 (grey) or 3. read(left, top, right, bottom): a strip of it.
    extent: the picture's height and width in stored pixels; a JPEG that is decoded at a fraction of its size ends within its last
        row and column.
    is_bgr: blue comes first.
    """

    size: Size
    channels: int
    read: Callable[[int, int, int, int], Strip]
    extent: tuple[float, float]
    turn: Turn = Turn()
    is_bgr: bool = False


def strips(width: int, top: int, bottom: int) -> Iterator[tuple[int, int]]:
    """(top, bottom) of each strip."""
    rows = max(1, STRIP_PIXELS // max(width, 1))
    return ((first, min(first + rows, bottom)) for first in range(top, bottom, rows))


def whole(pixels: Pixels) -> np.ndarray:
    """The image upright, uint8 (H, W, 3), RGB."""
    (height, width), turn = pixels.size, pixels.turn
    upright = np.empty((*_turned(turn, pixels.size), 3), np.uint8)
    # A view of it as the image is stored: strips are written straight to their upright places.
    stored = upright.transpose(1, 0, 2) if turn.swapped else upright
    stored = stored[:: -1 if turn.rows_reversed else 1, :: -1 if turn.columns_reversed else 1, :: -1 if pixels.is_bgr else 1]
    for top, bottom in strips(width, 0, height):
        strip, left = pixels.read(0, top, width, bottom)
        stored[top:bottom] = strip[:, left : left + width]
    return upright


def fitted(pixels: Pixels, size: Size) -> np.ndarray:
    """The image upright at `size`, uint8 (H, W, 3), RGB: the centre of the right aspect ratio, resized by `kernels.resize`.

    The stored image is filtered, and the small result turned: the arithmetic is exact, so it has the same bits as the other way
    round. An image of that size keeps its pixels.
    """
    if _turned(pixels.turn, pixels.extent) == tuple(size):
        return whole(pixels)
    turn, channels = pixels.turn, pixels.channels
    height, width = _turned(turn, size)
    scale = scale_to(pixels.extent, (height, width))
    rows = _window(pixels.size[0], pixels.extent[0], height, scale, turn.rows_reversed)
    columns = _window(pixels.size[1], pixels.extent[1], width, scale, turn.columns_reversed)
    (top, bottom), (left, right) = _reach(rows, pixels.size[0]), _reach(columns, pixels.size[1])
    sums = np.zeros((height, (right - left) * channels), np.int32)
    code = _code()
    for first, last in strips(right - left, top, bottom):
        strip, at = pixels.read(left, first, right, last)
        code.add_rows(sums, strip.reshape(len(strip), -1), first, at * channels, rows)
    small = np.empty((height, width, channels), np.uint8)
    code.finish(small, sums, np.empty(right - left, np.int32), Window(columns.first - left, columns.weights))
    # Reversed windows have put outputs in upright order already.
    upright = small.transpose(1, 0, 2) if turn.swapped else small
    if channels == 1:
        return np.repeat(upright, 3, axis=2)
    return np.ascontiguousarray(upright[:, :, ::-1] if pixels.is_bgr else upright)


def scale_to(extent: tuple[float, float], size: Size) -> float:
    """Pixels of the image for one of the result, along both axes: the axis that shrinks less is used in full."""
    return min(extent[0] / size[0], extent[1] / size[1])


def _turned(turn: Turn, size: tuple) -> tuple:
    """The height and width upright of a stored size; or the other way round."""
    return (size[1], size[0]) if turn.swapped else (size[0], size[1])


def _window(size: int, extent: float, outputs: int, scale: float, is_reversed: bool) -> Window:
    """The weights along a stored axis, for outputs in upright order."""
    taps = math.ceil(2 * REACH * max(scale, 1.0)) + 1
    window = Window(np.empty(outputs, np.int64), np.empty((outputs, taps), np.int16))
    # The picture begins with the first stored pixel, or, reversed, ends with the last.
    begin = size - extent if is_reversed else 0.0
    _code().prepare(window, size, float(begin), float(begin + extent), scale)
    if not is_reversed:
        return window
    return Window(size - taps - window.first, np.ascontiguousarray(window.weights[:, ::-1]))


def _reach(window: Window, size: int) -> tuple[int, int]:
    """The first pixel that any output of the window reads, and the one behind the last."""
    return max(0, int(window.first.min())), min(size, int(window.first.max()) + window.weights.shape[1])


class _Code(NamedTuple):
    """The compiled kernels."""

    prepare: Callable
    add_rows: Callable
    finish: Callable


@functools.cache
def _code() -> _Code:
    window, sums = Window(np.zeros(1, np.int64), np.zeros((1, 1), np.int16)), np.zeros((1, 1), np.int32)
    rows, out = np.zeros((1, 1), np.uint8), np.zeros((1, 1, 1), np.uint8)
    return _Code(
        bound(resize.prepare, (window, 1, 0.0, 1.0, 1.0)),
        bound(resize.add_rows, (sums, rows, 0, 0, window)),
        bound(resize.finish, (out, sums, sums[0], window)),
    )
