"""Steps on maps whose channels lie side by side: the naive numbers, and the bits of the same steps on rows of pixels."""

from dataclasses import replace

import numpy as np
import pytest

import minisqx
from minisqx import channels_last as tables
from minisqx import plan as plans
from minisqx import steps
from minisqx.gradcheck import random_state, relative_difference
from minisqx.kernels import channels_last
from minisqx.kernels.activation import NO_ACTIVATION, number_of
from minisqx.kernels.geometry import Geometry
from minisqx.kernels.layout import Layout
from minisqx.kernels.structures import Folded, Maps
from minisqx.kernels.tiles import channel_vectors
from tests import naive
from tests.kernel_calls import DTYPES, lanes_of, matrix, poisoned, product

TOLERANCE = {"float64": 1e-13, "float32": 2e-6}
# (kernel, stride, padding) on maps (height, width): few pixels in a row, many, and a number that no tile has.
CONVOLUTIONS = [
    ((1, 1), 1, (0, 0), (1, 1)),
    ((1, 1), 1, (0, 0), (5, 7)),
    ((3, 3), 1, (1, 1), (2, 2)),
    ((3, 3), 1, (1, 1), (3, 3)),
    ((3, 3), 1, (1, 1), (4, 13)),
    ((5, 3), 1, (2, 1), (3, 5)),
    ((3, 3), 2, (0, 0), (8, 11)),
]
# Outputs, as vectors and a rest: every width of a tile alone and one after the other.
OUTPUTS = [(0, 3), (1, 0), (3, 5), (4, 1), (9, 0), (15, 2)]


def maps(x: np.ndarray, border: int = 0) -> Maps:
    """x (N, C, H, W) as `Maps`, with a border of zeros beside its rows; all that no kernel may read is NaN."""
    images, channels, height, width = x.shape
    pixel = -(-channels // lanes_of(x.dtype.name)) * lanes_of(x.dtype.name)
    data = poisoned((images, height, width + 2 * border, pixel), x.dtype)
    data[..., :channels] = 0
    data[:, :, border : border + width, :channels] = x.transpose(0, 2, 3, 1)
    row = (width + 2 * border) * pixel
    return Maps(data.reshape(-1), border * pixel, height * row, row, pixel, 1)


def values(of: Maps, images: int, channels: int, size: tuple[int, int], border: int = 0) -> np.ndarray:
    """What `maps` was given: (N, C, H, W)."""
    height, width = size
    data = of.data.reshape(images, height, width + 2 * border, of.pixel)
    return data[:, :, border : border + width, :channels].transpose(0, 3, 1, 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors, rest", OUTPUTS)
@pytest.mark.parametrize("kernel, stride, padding, size", CONVOLUTIONS, ids=str)
def test_a_convolution_is_the_naive_one_with_the_bits_of_a_product(kernel, stride, padding, size, vectors, rest, dtype):
    r, images, channels, outputs = np.random.default_rng(0), 2, 3, vectors * lanes_of(dtype) + rest
    x = r.normal(size=(images, channels, *size)).astype(dtype)
    weight = r.normal(size=(outputs, channels, *kernel)).astype(dtype)
    bias, scale, shift = r.normal(size=(3, outputs)).astype(dtype)
    out_size = tuple((side + 2 * p - k) // stride + 1 for side, p, k in zip(size, padding, kernel))
    geometry = Geometry.of(kernel, (stride, stride), padding, size, out_size)
    beyond = np.full(lanes_of(dtype), np.nan, dtype)
    constants = Folded(*(np.concatenate([part, beyond]) for part in (weight.reshape(outputs, -1).T.ravel(), bias, scale, shift)))
    columns = np.concatenate(naive.im2col(x, kernel, stride, padding), axis=1)
    pixels = columns.shape[1]
    columns = np.ascontiguousarray(np.pad(columns, ((0, 0), (0, -pixels % lanes_of(dtype)))))
    channel_vectors.prepare(dtype)
    for activation, border in ((number_of("elu"), 0), (NO_ACTIVATION, 2)):
        out = maps(np.full((images, outputs, *out_size), np.nan, dtype), border)
        out.data[...] = np.nan
        given = maps(x, padding[1]), images, np.array(geometry, np.int64), channels, outputs, constants, activation, border
        channels_last.convolve(out, *given)
        found = values(out, images, outputs, out_size, border)
        z = naive.convolution(x.astype(np.float64), weight, bias, stride, padding)
        expected = (naive.elu(z) if activation else z) * scale[:, None, None] + shift[:, None, None]
        assert relative_difference(found, expected) <= TOLERANCE[dtype]
        on_rows = product(weight.reshape(outputs, -1).T.copy(), columns, bias, scale, shift, activation, columns.shape[1])
        rows = on_rows[:, :pixels].reshape(outputs, images, *out_size).swapaxes(0, 1)
        assert np.array_equal(found, rows)
        beside = out.data.reshape(images, out_size[0], -1, out.pixel)
        assert (beside[:, :, :border] == 0).all() and (beside[:, :, border + out_size[1] :] == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel, stride, size", [(3, 2, (6, 7)), (3, 2, (2, 3)), (2, 2, (5, 4)), (3, 1, (4, 5))])
def test_a_pool_is_the_naive_one_and_lets_no_nan_pass_unseen(kernel, stride, size, dtype):
    r, images, channels = np.random.default_rng(1), 3, lanes_of(dtype) + 2
    x = r.integers(-3, 4, (images, channels, *size)).astype(dtype)
    x[1, 2, 1, 1] = np.nan
    out_size = naive.max_pool_size(size, kernel, stride)
    geometry = np.array(Geometry.of((kernel, kernel), (stride, stride), (0, 0), size, out_size), np.int64)
    out = maps(np.zeros((images, channels, *out_size), dtype))
    out.data[...] = 7
    channels_last.pool(out, maps(x), images, channels, geometry)
    found = values(out, images, channels, out_size)
    has_nan = naive.max_pool(np.isnan(x).astype(np.float64), kernel, stride) > 0
    expected = np.where(has_nan, np.nan, naive.max_pool(np.nan_to_num(x.astype(np.float64)), kernel, stride))
    assert np.array_equal(found, expected, equal_nan=True) and has_nan.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_maps_become_rows_with_clear_ends(dtype):
    x = np.random.default_rng(2).normal(size=(2, 5, 3, 4)).astype(dtype)
    layout = Layout(2, 3, 4, x.itemsize, 2)
    out = poisoned((5, layout.stride), dtype)
    channels_last.to_rows(matrix(out), maps(x, 1), 2, 5, 3, 4)
    assert np.array_equal(layout.unpack(out[None]), x) and (out[:, layout.pixels(0) : layout.padded(0)] == 0).all()


@pytest.mark.parametrize("version, size", [("1.1", (17, 20)), ("1.1", (35, 32)), ("1.0", (21, 26)), ("1.0", (32, 32))])
def test_a_network_has_the_bits_of_its_steps_on_rows(version, size, monkeypatch):
    monkeypatch.setattr(steps, "aligned_empty", poisoned)
    spec = minisqx.SqueezeNetSpec(version, input_size=size, num_classes=5)
    net = minisqx.Network(spec)
    net.load_state_dict(random_state(spec, np.random.default_rng(0)))
    x = np.random.default_rng(1).normal(size=(5, 3, *size)).astype(np.float32)
    found = [net.plan().run_images(x[:count]) for count in (1, 5)]
    monkeypatch.setattr(plans, "table_of", steps.StepTable)
    expected = net.plan().run_images(x)
    assert np.array_equal(found[0], expected[:1]) and np.array_equal(found[1], expected)


def test_only_networks_of_fire_modules_have_their_channels_side_by_side():
    fires = minisqx.SqueezeNetSpec("1.1")
    stem, *rest = fires.units
    padded = replace(stem, padding=(1, 1))
    described = [fires, minisqx.ShallowSqueezeNext(width=0.2).spec]
    assert [tables.is_channels_last(spec) for spec in described] == [True, False]
    vars(fires)["units"] = (padded, *rest)
    assert not tables.is_channels_last(fires)
