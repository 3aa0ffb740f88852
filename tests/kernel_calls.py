"""Calls of single kernels for the tests, with arrays of any stride and poisoned memory.

The tiles are intrinsics, which only compiled code can call, so each has a wrapper here. Poison is NaN: an element that a kernel
forgets to write, or reads without need, shows up in the result.
"""

import numba
import numpy as np

from minisqx.kernels import im2col as im2col_kernel
from minisqx.kernels.activation import NO_ACTIVATION, number_of
from minisqx.kernels.geometry import Geometry
from minisqx.kernels.layout import Layout, aligned_empty
from minisqx.kernels.structures import (
    Affine,
    Block,
    Chunk,
    Extent,
    Matrix,
    Moments,
    NormActivationBackward,
    NormBackward,
    Windows,
)
from minisqx.kernels.tiles import product as product_kernels
from minisqx.kernels.tiles import windows
from minisqx.kernels.tiles.activation_row import activate_row
from minisqx.kernels.tiles.simd import lanes

DTYPES = ("float32", "float64")


def lanes_of(dtype: str) -> int:
    """Elements of a vector register."""
    return lanes(getattr(numba, dtype))


def poisoned(shape, dtype) -> np.ndarray:
    """NaN everywhere, aligned to a cache line."""
    out = aligned_empty(shape, dtype)
    out[...] = np.nan
    return out


def packed(x: np.ndarray, dtype, images_per_chunk: int | None = None) -> tuple[np.ndarray, Layout]:
    """x (N, C, H, W) in the memory layout, divided as in training or into chunks of `images_per_chunk`.

    Columns that no kernel may read, beyond the padding, are poison.
    """
    layout = layout_of(len(x), x.shape[2:], dtype, images_per_chunk)
    data = layout.pack(x, layout.empty(x.shape[1], dtype))
    for chunk in range(layout.chunks):
        data[chunk, :, layout.padded(chunk) :] = np.nan
    return data, layout


def layout_of(images: int, size: tuple[int, int], dtype, images_per_chunk: int | None = None) -> Layout:
    if images_per_chunk is None:
        return Layout.of_batch(images, *size, dtype)
    return Layout(images, *size, np.dtype(dtype).itemsize, images_per_chunk)


def padding_is_zero(data: np.ndarray, layout: Layout) -> bool:
    """Whether the columns from the last pixel to the end of its vector are zero, as `kernels.layout` promises."""
    return all((data[chunk, :, layout.pixels(chunk) : layout.padded(chunk)] == 0).all() for chunk in range(layout.chunks))


@numba.njit
def _product(out, weight, x, extent, epilogue, activation):
    product_kernels.product(out, weight, x, extent, epilogue, activation)


@numba.njit
def _product_of_windows(out, weight, x, start, stop, epilogue, activation, count):
    windows.product_of_windows(out, weight, x, start, stop, epilogue, activation, count)


@numba.njit
def _product_with_moments(out, weight, x, extent, epilogue, activation):
    product_kernels.product_with_moments(out, weight, x, extent, epilogue, activation)


@numba.njit
def _product_to_dz(out, weight, x, extent, epilogue, activation):
    product_kernels.product_to_dz(out, weight, x, extent, epilogue, activation)


@numba.njit
def _product_to_ds(out, weight, x, extent, epilogue, activation):
    product_kernels.product_to_ds(out, weight, x, extent, epilogue, activation)


@numba.njit
def _weight_gradient(dweight, dz, x, extent):
    product_kernels.weight_gradient(dweight, dz, x, extent)


@numba.njit
def _im2col(out, x, channels, taps, block):
    im2col_kernel.im2col(out, x, channels, taps, block)


def matrix(array: np.ndarray, at: int = 0) -> Matrix:
    """An array (rows, stride) as an operand of a product, from an element on."""
    return Matrix(array.ravel(), at, array.shape[1])


def product(weight, x, bias, scale, shift, activation: bool, columns: int, more: int = 0) -> np.ndarray:
    """out (M, columns + more) of weight (K, M) and x (K, columns or more); what the kernel leaves alone is NaN."""
    product_kernels.prepare(x.dtype)
    out = poisoned((weight.shape[1], columns + more), x.dtype)
    extent = Extent(0, len(out), len(weight), 0, columns)
    _product(matrix(out), matrix(weight), matrix(x), extent, Affine(bias, scale, shift), int(activation))
    return out


def product_of_windows(weight, x, layout: Layout, geometry: Geometry, affine: Affine, activation: int, rows: range) -> np.ndarray:
    """Some rows of out (M, pixels) of weight (K, M) and one chunk x (C, stride) with this layout; the other rows are NaN."""
    windows.prepare(x.dtype)
    size = (geometry.out_height, geometry.out_width)
    taps = geometry.taps(layout.resized(*size), x.dtype)
    vectors = -(-size[1] // lanes_of(x.dtype.name))
    given = Windows(*matrix(x), taps.index, taps.index.shape[1], len(x), len(taps.index), *geometry[8:], vectors)
    out = poisoned((weight.shape[1], layout.resized(*size).pixels(0)), x.dtype)
    count = layout.images * size[0] * vectors
    _product_of_windows(matrix(out), matrix(weight), given, rows.start, rows.stop, affine, activation, count)
    return out


def product_with_moments(weight, x, bias, activation: bool, columns: int, moments: np.ndarray, before: int) -> np.ndarray:
    """out (M, columns) of weight (K, M) and x (K, columns or more); updates moments (M, 3, lanes).

    before: the number of vectors of the same rows that were counted before.
    """
    product_kernels.prepare(x.dtype)
    out, first = poisoned((weight.shape[1], columns), x.dtype), before * lanes_of(x.dtype.name)
    extent, epilogue = Extent(0, len(out), len(weight), first, columns), Moments(bias, moments.reshape(-1))
    _product_with_moments(matrix(out, -first), matrix(weight), matrix(x, -first), extent, epilogue, int(activation))
    return out


def product_to_dz(weight, x, coefficients, activation: bool, e: np.ndarray, columns: int, in_place: bool) -> np.ndarray:
    """dz, as large as e (M, columns or more), in the place of e or elsewhere; what the kernel leaves alone is e, or NaN."""
    product_kernels.prepare(x.dtype)
    e = e.copy()
    out = e if in_place else poisoned(e.shape, e.dtype)
    extent, epilogue = (
        Extent(0, len(e), len(weight), 0, columns),
        NormBackward(np.zeros(len(e), e.dtype), *coefficients, matrix(e)),
    )
    _product_to_dz(matrix(out), matrix(weight), matrix(x), extent, epilogue, int(activation))
    return out


def product_to_ds(weight, x, scale, shift, activation: int, e: np.ndarray, columns: int, lanes: np.ndarray) -> np.ndarray:
    """ds, as large as e (M, columns or more), NaN where the kernel leaves it alone; updates lanes (M, 2, lanes)."""
    product_kernels.prepare(x.dtype)
    out, extent = poisoned(e.shape, e.dtype), Extent(0, len(e), len(weight), 0, columns)
    epilogue = NormActivationBackward(np.zeros(len(e), e.dtype), scale, shift, matrix(e), lanes.reshape(-1))
    _product_to_ds(matrix(out), matrix(weight), matrix(x), extent, epilogue, activation)
    return out


def weight_gradient(dweight, dz, x, depth: int, columns: int) -> None:
    """Adds to dweight (M, depth or more) the product of dz (M, columns or more) and x (K, columns or more)."""
    product_kernels.prepare(x.dtype)
    _weight_gradient(matrix(dweight), matrix(dz), matrix(x), Extent(0, len(dz), depth, 0, columns))


def im2col(
    x: np.ndarray, scale, shift, geometry: Geometry, dtype, images_per_chunk: int, block: int, activation: int = NO_ACTIVATION
) -> np.ndarray:
    """f(x scale + shift), (N, C, H, W) -> (N, C * taps, H' * W'), gathered `block` columns at a time.

    Fails if a column beyond the pixels is not zero, or if the gather writes outside its block.
    """
    im2col_kernel.prepare(np.dtype(dtype))
    data, layout = packed(x, dtype, images_per_chunk)
    out_layout = layout.resized(geometry.out_height, geometry.out_width)
    taps = geometry.taps(out_layout, dtype)
    rows = x.shape[1] * len(taps.inside)
    gathered = poisoned((out_layout.chunks, rows, out_layout.stride), dtype)
    scale, shift = np.asarray(scale, dtype), np.asarray(shift, dtype)
    for chunk in range(layout.chunks):
        for first in range(0, out_layout.padded(chunk), block):
            columns = min(block, out_layout.padded(chunk) - first)
            scratch = poisoned((rows, block + 16), dtype)
            given = Chunk(data[chunk].ravel(), 0, layout.stride, scale, shift, activation)
            _im2col(matrix(scratch), given, x.shape[1], taps, Block(first, columns, out_layout.pixels(chunk)))
            assert np.isnan(scratch[:, columns:]).all()
            gathered[chunk, :, first : first + columns] = scratch[:, :columns]
    assert padding_is_zero(gathered, out_layout)
    return out_layout.unpack(gathered).reshape(len(x), rows, out_layout.map_pixels)


def activate(x: np.ndarray, activation: int = number_of("elu")) -> np.ndarray:
    """The activation of a flat array of any length."""
    width = lanes_of(x.dtype.name)
    padded = np.zeros(-(-x.size // width) * width, x.dtype)
    padded[: x.size] = x
    out = poisoned(padded.shape, x.dtype)
    activate_row(out, 0, padded, 0, activation, padded.size)
    return out[: x.size]
