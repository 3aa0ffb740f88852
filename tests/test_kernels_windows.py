"""A convolution that reads its input where it lies: the bits of im2col and a product."""

import itertools

import numpy as np
import pytest

from minisqx.kernels.activation import NO_ACTIVATION, number_of
from minisqx.kernels.geometry import Geometry
from minisqx.kernels.structures import Affine
from tests.kernel_calls import DTYPES, lanes_of, packed, product, product_of_windows

KERNELS = [(3, 3), (1, 3), (5, 1)]
# (images, height of the output, its width beyond one vector)
SHAPES = [(1, 4, 0), (1, 5, 3), (3, 7, 14), (2, 9, 31)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel, shape", list(itertools.product(KERNELS, SHAPES)), ids=str)
def test_windows_give_the_bits_of_im2col_and_a_product(kernel, shape, dtype):
    r, lane_count = np.random.default_rng(0), lanes_of(dtype)
    images, height, more = shape
    width, channels, outputs = lane_count + more, 2, 13
    in_size = (height + kernel[0] - 1, width + kernel[1] - 1)
    x = r.normal(size=(images, channels, *in_size)).astype(dtype)
    data, layout = packed(x, dtype, images_per_chunk=images)
    taps = itertools.product(range(channels), range(kernel[0]), range(kernel[1]))
    columns = np.stack([x[:, c, i : i + height, j : j + width].ravel() for c, i, j in taps])
    pixels = columns.shape[1]
    columns = np.pad(columns, ((0, 0), (0, -pixels % lane_count)))
    weight = r.normal(size=(len(columns), outputs)).astype(dtype)
    bias, scale, shift = r.normal(size=(3, outputs)).astype(dtype)
    geometry = Geometry.of(kernel, (1, 1), (0, 0), in_size, (height, width))
    for activation, rows in ((number_of("elu"), range(outputs)), (NO_ACTIVATION, range(5, 12))):
        expected = product(weight, columns, bias, scale, shift, activation == number_of("elu"), columns.shape[1])[:, :pixels]
        found = product_of_windows(weight, data[0], layout, geometry, Affine(bias, scale, shift), activation, rows)
        inside = slice(rows.start, rows.stop)
        assert np.array_equal(found[inside], expected[inside])
        assert np.isnan(np.delete(found, inside, axis=0)).all()
