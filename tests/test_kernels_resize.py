"""Resizing against the filter written as a formula, in float64 and without any rounding before the last."""

import math

import numpy as np
import pytest

from minisqx.images.pixels import Pixels, Strip, Turn, fitted
from minisqx.kernels import resize
from minisqx.kernels.resize import ONE, REACH, Window

UPRIGHT = Turn()
# Odd and even, larger and smaller, not divisible, one pixel: (pixels, outputs).
AXES = [(64, 32), (63, 32), (33, 32), (31, 32), (32, 32), (7, 32), (1, 5), (200, 3), (97, 10), (5, 1)]


def keys(x):
    """Keys' cubic convolution with a = -1/2."""
    x = np.abs(x)
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def naive_weights(size, outputs, low, scale):
    """(outputs, size), each row summing to 1."""
    centres = low + (np.arange(outputs) + 0.5) * scale
    weights = keys((np.arange(size) + 0.5 - centres[:, None]) / max(scale, 1))
    return weights / weights.sum(axis=1, keepdims=True)


def naive_fit(image, size):
    """float64 (H, W, channels)."""
    extent = image.shape[:2]
    scale = min(extent[0] / size[0], extent[1] / size[1])
    rows, columns = (naive_weights(e, n, (e - n * scale) / 2, scale) for e, n in zip(extent, size))
    return np.einsum("iy,jx,yxc->ijc", rows, columns, image.astype(np.float64))


def window_of(size, outputs, scale):
    taps = math.ceil(2 * REACH * max(scale, 1)) + 1
    window = Window(np.empty(outputs, np.int64), np.empty((outputs, taps), np.int16))
    resize.prepare(window, size, 0.0, float(size), float(scale))
    return window


def stored(image, turn=UPRIGHT):
    """An image as `Pixels`."""

    def read(left, top, right, bottom):
        return Strip(image[top:bottom], left)

    return Pixels(image.shape[:2], image.shape[2], read, image.shape[:2], turn)


def noise(height, width, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


@pytest.mark.parametrize("size, outputs", AXES)
def test_weights_are_the_formulas_within_a_rounding_and_sum_to_one(size, outputs):
    scale = size / outputs
    first, weights = window_of(size, outputs, scale)
    dense = np.zeros((outputs, size))
    for i in range(outputs):
        for k in np.flatnonzero(weights[i]):
            dense[i, first[i] + k] = weights[i, k]
    assert (dense.sum(axis=1) == ONE).all()
    # A weight is the difference of two rounded sums.
    np.testing.assert_allclose(dense / ONE, naive_weights(size, outputs, 0, scale), rtol=0, atol=1 / ONE)


@pytest.mark.parametrize("height, width", [(40, 60), (33, 17), (9, 50), (8, 8), (3, 4)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(8, 8), (5, 9)])
def test_an_image_is_resized_as_the_formula_says(height, width, channels, size):
    image = noise(height, width, channels)
    expected = np.clip(naive_fit(image, size), 0, 255)
    # Rounded to the nearest of what weights of 14 bits give, which add less than a hundredth to the half.
    assert np.abs(fitted(stored(image), size) - expected).max() < 0.51


def test_sums_of_the_first_axis_stay_far_below_the_largest_int32():
    for size, outputs in [*AXES, (8_366, 1), (1_000, 1_000), (2, 3), (3, 1_000)]:
        weights = window_of(size, outputs, size / outputs).weights.astype(np.int64)
        assert 255 * np.abs(weights).sum(axis=1).max() < 1 << 24


@pytest.mark.parametrize("turn", [Turn(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True)])
def test_an_image_is_turned_before_or_after_with_the_same_bits(turn):
    image = noise(41, 30)
    upright = image[:: -1 if turn.rows_reversed else 1, :: -1 if turn.columns_reversed else 1]
    upright = np.ascontiguousarray(upright.transpose(1, 0, 2) if turn.swapped else upright)
    for size in ((8, 8), (5, 9), (50, 40)):
        np.testing.assert_array_equal(fitted(stored(image, turn), size), fitted(stored(upright), size))


def test_an_image_has_the_same_bits_in_strips_of_any_height(monkeypatch):
    image = noise(50, 40)
    expected = fitted(stored(image), (8, 8))
    for rows in (1, 2, 3, 5, 49):
        monkeypatch.setattr("minisqx.images.pixels.STRIP_PIXELS", rows * 40)
        np.testing.assert_array_equal(fitted(stored(image), (8, 8)), expected)


@pytest.mark.compiled
def test_a_row_of_many_blocks_is_resized_in_full():
    image = noise(12, 2_000)
    expected = np.clip(naive_fit(image, (6, 900)), 0, 255)
    assert np.abs(fitted(stored(image), (6, 900)) - expected).max() < 0.51


def test_what_overshoots_is_clipped():
    image = np.zeros((8, 8, 1), np.uint8)
    image[:, 4:] = 255
    large = fitted(stored(image), (32, 32))
    assert large.min() == 0 and large.max() == 255
    assert naive_fit(image, (32, 32)).min() < -5 and naive_fit(image, (32, 32)).max() > 260
