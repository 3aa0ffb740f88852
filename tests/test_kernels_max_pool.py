"""Max pooling, alone: its naive twin's numbers, PyTorch's choice among equals, and poison where nothing may be read."""

import numpy as np
import pytest

from minisqx.gradcheck import central_differences, relative_difference, sample
from minisqx.layers import Activation, Gradient, MaxPool, Workspace
from minisqx.spec import MaxPoolSpec
from tests import naive
from tests.kernel_calls import DTYPES, packed, padding_is_zero

# (images, images a chunk, channels, height, width, kernel, stride): windows inside and beyond the map, and one that is the map.
CASES = [
    (1, 1, 1, 2, 2, 3, 2),
    (3, 2, 4, 2, 3, 3, 2),
    (5, 2, 3, 6, 7, 3, 2),
    (2, 1, 2, 13, 13, 3, 2),
    (3, 2, 2, 8, 14, 3, 2),
    (2, 2, 2, 4, 40, 3, 2),
    (4, 3, 5, 9, 4, 2, 2),
    (3, 3, 2, 8, 5, 3, 1),
    (3, 2, 1, 5, 5, 2, 3),
]


def pool(case, x: np.ndarray, dtype="float64") -> tuple[MaxPool, Activation]:
    """The layer, and its input: rows of poison lie before and behind its channels."""
    _, per_chunk, channels, *_, kernel, stride = case
    poison = np.full_like(x[:, :1], np.nan)
    stored, layout = packed(np.concatenate([poison, x, poison], axis=1), dtype, per_chunk)
    workspace = Workspace(dtype)
    layer = MaxPool(MaxPoolSpec("pool", channels, x.shape[2:], kernel, stride), workspace)
    y, place, g, dx, _ = layer.buffers_for(layout)
    for buffer in (y.data, g, dx.stored):
        buffer[...] = np.nan
    place[...] = -1
    ones, zeros = np.ones(channels, dtype), np.zeros(channels, dtype)
    return layer, Activation(stored, layout, 1, ones, zeros, 0, np.empty((channels, 2)))


def values(case, seed=0, draw=None) -> np.ndarray:
    images, _, channels, height, width, *_ = case
    generator = np.random.default_rng(seed)
    shape = (images, channels, height, width)
    return generator.normal(size=shape) if draw is None else draw(generator, shape)


def few_numbers(generator, shape) -> np.ndarray:
    """Many equal neighbours, as after a ReLU, and negative zeros."""
    return np.maximum(generator.integers(-2, 3, shape), 0) * generator.choice([-1.0, 1.0], shape)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("draw", [None, few_numbers], ids=["normal", "equals"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward_and_backward_are_the_naive_twins_exactly(case, draw, dtype):
    x = values(case, draw=draw).astype(dtype).astype(np.float64)
    layer, stored = pool(case, x, dtype)
    y = layer.forward(stored)
    expected = naive.max_pool(x, *case[-2:])
    assert np.array_equal(y.values(), expected) and padding_is_zero(y.data, y.layout)

    dout = np.random.default_rng(1).integers(-9, 10, expected.shape).astype(np.float64)
    gradient = layer.backward(Gradient(stored=packed(dout, dtype, case[1])[0]))
    assert np.array_equal(stored.layout.unpack(gradient.stored), naive.max_pool_backward(dout, x, *case[-2:]))
    assert padding_is_zero(gradient.stored, stored.layout)


def test_of_equals_the_first_counts_and_a_nan_is_larger_than_all():
    case = (1, 1, 1, 3, 3, 3, 2)
    x = np.array([[[[0.0, 2, 2], [2, 1, 0], [2, 0, 0]]]])
    layer, stored = pool(case, x)
    layer.forward(stored)
    dx = stored.layout.unpack(layer.backward(Gradient(stored=packed(np.ones((1, 1, 1, 1)), "float64")[0])).stored)
    assert dx.ravel().tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0]
    x[0, 0, 1, 1] = np.nan
    layer, stored = pool(case, x)
    assert np.isnan(layer.forward(stored).values()).all()


@pytest.mark.parametrize("case", [case for case in CASES if case[3] > 1], ids=str)
def test_gradients_are_central_differences(case):
    x = values(case)
    layer, stored = pool(case, x)
    dout = np.random.default_rng(1).normal(size=layer.forward(stored).values().shape)

    def loss() -> float:
        layer, stored = pool(case, x)
        return float((dout * layer.forward(stored).values()).sum())

    dx = stored.layout.unpack(layer.backward(Gradient(stored=packed(dout, "float64", case[1])[0])).stored)
    indices = sample(x.size, 12, seed=0)
    assert relative_difference(central_differences(loss, x, indices), dx.ravel()[indices], np.abs(dx).max()) <= 1e-8
