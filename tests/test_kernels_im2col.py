"""im2col, exact on integers: every geometry of the networks and odd ones, both directions, cut anywhere."""

import itertools

import numpy as np
import pytest

from minisqx.kernels.activation import NO_ACTIVATION, number_of
from minisqx.kernels.blocks import flip_taps
from minisqx.kernels.geometry import Geometry
from minisqx.kernels.structures import BLOCK
from tests import naive
from tests.kernel_calls import DTYPES, im2col
from tests.layer_shapes import SHAPES

KERNELS = [(1, 1), (1, 3), (3, 1), (3, 3), (2, 3)]
SIZES = [(1, 1), (1, 9), (6, 1), (2, 3), (4, 4), (7, 5), (8, 8), (15, 15)]
STRIDES = [1, 2, 3]


def geometries():
    """(kernel, stride, padding, size) wherever an output pixel is left."""
    for kernel, size, stride, pad in itertools.product(KERNELS, SIZES, STRIDES, [False, True]):
        padding = tuple((k - 1) // 2 * pad for k in kernel)
        if all(s + 2 * p >= k for s, p, k in zip(size, padding, kernel)):
            yield kernel, stride, padding, size


GEOMETRIES = sorted({*geometries(), *((s.kernel, s.stride, s.padding, s.size) for s in SHAPES)})


def geometry_of(kernel, stride, padding, size) -> Geometry:
    output = tuple((s + 2 * p - k) // stride + 1 for s, p, k in zip(size, padding, kernel))
    return Geometry.of(kernel, (stride, stride), padding, size, output)


def integers(*shape):
    return np.random.default_rng(shape).integers(-9, 10, shape).astype(np.float64)


def check(x, kernel, stride, padding, dtype, images_per_chunk, block):
    scale, shift = integers(2, x.shape[1])
    geometry, y = geometry_of(kernel, stride, padding, x.shape[2:]), x * scale[:, None, None] + shift[:, None, None]
    for activation, values in ((NO_ACTIVATION, y), (number_of("relu"), naive.relu(y))):
        found = im2col(x, scale, shift, geometry, dtype, images_per_chunk, block, activation)
        # Scale, shift and activation come before the padding: its zeros stay zero.
        assert np.array_equal(found, naive.im2col(values, kernel, stride, padding))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_im2col_of_every_geometry_is_exact(kernel, dtype):
    for _, stride, padding, size in (g for g in GEOMETRIES if g[0] == kernel):
        # Two chunks of two images, and a last one of one.
        check(integers(5, 3, *size), kernel, stride, padding, dtype, images_per_chunk=2, block=BLOCK)


@pytest.mark.parametrize("channels", [1, 3, 5, 12, 25])
def test_im2col_of_any_number_of_channels_is_exact(channels):
    for kernel in KERNELS:
        check(integers(3, channels, 6, 7), kernel, 1, (0, 0), "float32", images_per_chunk=2, block=BLOCK)


@pytest.mark.parametrize("block", [16, 48, 64, 112])
@pytest.mark.parametrize(
    "kernel, stride, padding",
    [
        ((1, 3), 1, (0, 1)),
        ((3, 1), 1, (1, 0)),
        ((3, 3), 1, (1, 1)),
        ((3, 3), 1, (0, 0)),
        ((1, 1), 2, (0, 0)),
        ((3, 3), 2, (1, 1)),
    ],
)
def test_a_block_may_begin_and_end_anywhere_in_a_row(kernel, stride, padding, block):
    """With 16 columns there are blocks within one row, across rows and images; in a map 16 wide some begin with a row."""
    for size in ((3, 37), (13, 11), (5, 3), (7, 18)):
        check(integers(7, 2, *size), kernel, stride, padding, "float32", images_per_chunk=4, block=block)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_transposed_geometry_with_flipped_taps_gives_the_inputs_gradient(kernel, dtype):
    taps = kernel[0] * kernel[1]
    for _, stride, padding, size in (g for g in GEOMETRIES if g[0] == kernel):
        geometry = geometry_of(kernel, stride, padding, size)
        dout, weight = integers(5, 3, geometry.out_height, geometry.out_width), integers(3, 2, *kernel)
        flipped = np.full((3 * taps, 2), np.nan)
        flip_taps(flipped, weight.reshape(3, -1), taps)
        gathered = im2col(dout, np.ones(3), np.zeros(3), geometry.transposed, dtype, images_per_chunk=2, block=BLOCK)
        dx = (flipped.T @ gathered).reshape(5, 2, *size)
        assert np.array_equal(dx, naive.convolution_input_gradient(dout, weight, dx.shape, stride, padding)), geometry


def test_padding_pixels_of_an_infinite_input_stay_zero():
    """Zeros of the padding are written, not multiplied."""
    x = np.full((2, 1, 3, 3), np.inf)
    x[0, 0, 0, 0] = 1
    found = im2col(x, np.ones(1), np.zeros(1), geometry_of((3, 3), 1, (1, 1), (3, 3)), "float32", images_per_chunk=2, block=BLOCK)
    assert np.array_equal(found == 0, naive.im2col(np.ones_like(x), (3, 3), 1, (1, 1)) == 0)
    assert not np.isnan(found).any()
