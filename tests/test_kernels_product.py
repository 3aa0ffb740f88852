"""The register tiles: any height, depth and width, exact on integers, and nothing written but what is promised."""

import numpy as np
import pytest

from minisqx.kernels.activation import NO_ACTIVATION, number_of
from minisqx.kernels.tiles.product import GRADIENT_ROWS, ROWS, VECTORS
from tests import naive
from tests.kernel_calls import DTYPES, lanes_of, product, product_to_ds, product_to_dz, product_with_moments, weight_gradient

RELU = number_of("relu")

# Every height of a tile, and sums of unequal ones; every real channel count of 0.125x and 0.2x is among them.
HEIGHTS = [*range(1, 2 * ROWS + 2), 16, 19, 25, 32, 51]
DEPTHS = [1, 2, 3, 12, 27, 64]
# One-vector tiles alone, wide tiles alone, and both.
WIDTHS = [*range(1, 2 * VECTORS + 2), 16]


def integers(generator, *shape, dtype):
    """Small enough that float32 holds every sum of products exactly."""
    return generator.integers(-9, 10, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", HEIGHTS)
def test_product_of_integers_is_exact_and_written_whole(rows, dtype):
    generator = np.random.default_rng(rows)
    for depth in DEPTHS:
        for vectors in WIDTHS:
            columns = vectors * lanes_of(dtype)
            weight, x = integers(generator, depth, rows, dtype=dtype), integers(generator, depth, columns + 32, dtype=dtype)
            bias, scale, shift = integers(generator, 3, rows, dtype=dtype)
            out = product(weight, x, bias, scale, shift, activation=False, columns=columns, more=16)
            expected = (bias[:, None] + weight.T @ x[:, :columns]) * scale[:, None] + shift[:, None]
            assert np.array_equal(out[:, :columns], expected), (depth, vectors)
            assert np.isnan(out[:, columns:]).all()


@pytest.mark.parametrize("dtype, tolerance", [("float32", 2.0**-22), ("float64", 2.0**-51)])
@pytest.mark.parametrize("rows", range(1, ROWS + 1))
def test_product_applies_elu_before_scale_and_shift(rows, dtype, tolerance):
    generator = np.random.default_rng(rows)
    for vectors in (1, VECTORS, VECTORS + 1):
        columns = vectors * lanes_of(dtype)
        # Multiples of 1/16: the sum is exact, and what is left is ELU's rounding and that of scale and shift.
        weight, x = integers(generator, 5, rows, dtype=dtype) / 2, integers(generator, 5, columns, dtype=dtype) / 8
        bias, scale, shift = integers(generator, 3, rows, dtype=dtype)
        bias = np.sign(bias) / 16
        z = (bias[:, None] + weight.T @ x).astype(np.float64)
        assert (z < 0).any() and (z > 0).any()
        expected = naive.elu(z) * scale[:, None] + shift[:, None]
        out = product(weight, x, bias, scale, shift, activation=True, columns=columns)
        assert (np.abs(out - expected) <= tolerance * (np.abs(naive.elu(z) * scale[:, None]) + np.abs(expected))).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", HEIGHTS)
def test_moments_of_integers_are_exact_over_several_calls(rows, dtype):
    generator = np.random.default_rng(rows)
    lane_count = lanes_of(dtype)
    for vectors in (1, VECTORS - 1, VECTORS, 2 * VECTORS + 1):
        columns, moments = vectors * lane_count, np.full((rows, 3, lane_count), np.nan, dtype)
        moments[:, 1:] = 0
        values = []
        for call in range(3):
            weight, x = integers(generator, 2, rows, dtype=dtype), integers(generator, 2, columns + 16, dtype=dtype)
            bias = integers(generator, rows, dtype=dtype)
            out = product_with_moments(weight, x, bias, False, columns, moments, before=call * vectors)
            assert np.array_equal(out, bias[:, None] + weight.T @ x[:, :columns])
            values.append(out.reshape(rows, vectors, lane_count))
        values = np.concatenate(values, axis=1)
        differences = values - values[:, :1]
        expected = values[:, 0], differences.sum(axis=1), (differences**2).sum(axis=1)
        assert np.array_equal(moments, np.stack(expected, axis=1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_moments_are_taken_of_what_is_stored(dtype):
    generator, lane_count = np.random.default_rng(0), lanes_of(dtype)
    weight, x, bias = (generator.normal(size=shape).astype(dtype) for shape in ((5, 7), (5, 4 * lane_count), 7))
    moments = np.zeros((7, 3, lane_count), dtype)
    out = product_with_moments(weight, x, bias, True, 4 * lane_count, moments, before=0)
    ones, zeros = np.ones(7, dtype), np.zeros(7, dtype)
    assert np.array_equal(out, product(weight, x, bias, ones, zeros, activation=True, columns=4 * lane_count))
    assert np.array_equal(moments[:, 0], out[:, :lane_count])
    sums = (out.reshape(7, 4, lane_count).astype(np.float64) - out[:, None, :lane_count]).sum(axis=1)
    np.testing.assert_allclose(moments[:, 1], sums, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", HEIGHTS)
def test_dz_of_integers_is_exact_and_may_take_the_place_of_e(rows, dtype, in_place):
    generator = np.random.default_rng(rows)
    for depth, vectors, activation in ((1, 1, False), (3, VECTORS, True), (5, VECTORS + 2, True)):
        columns = vectors * lanes_of(dtype)
        weight, x = integers(generator, depth, rows, dtype=dtype), integers(generator, depth, columns + 16, dtype=dtype)
        e = integers(generator, rows, columns + 32, dtype=dtype)
        a, b, c = integers(generator, 3, rows, dtype=dtype)
        found = product_to_dz(weight, x, (a, b, c), activation, e, columns, in_place)
        g, stored = weight.T @ x[:, :columns], e[:, :columns]
        slope = np.minimum(stored + 1, 1) if activation else 1
        assert np.array_equal(found[:, :columns], (a[:, None] * g + b[:, None] * stored + c[:, None]) * slope)
        beyond = found[:, columns:]
        assert np.array_equal(beyond, e[:, columns:]) if in_place else np.isnan(beyond).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", HEIGHTS)
def test_ds_of_integers_is_exact_and_so_are_the_sums_that_it_leaves(rows, dtype):
    generator, lane_count = np.random.default_rng(rows), lanes_of(dtype)
    for depth, vectors, activation in ((1, 1, NO_ACTIVATION), (3, VECTORS, RELU), (5, VECTORS + 2, RELU)):
        columns = vectors * lane_count
        weight, x = integers(generator, depth, rows, dtype=dtype), integers(generator, depth, columns + 16, dtype=dtype)
        e, before = integers(generator, rows, columns + 32, dtype=dtype), integers(generator, rows, 2, lane_count, dtype=dtype)
        scale, shift = integers(generator, 2, rows, dtype=dtype)
        lanes = before.copy()
        found = product_to_ds(weight, x, scale, shift, activation, e, columns, lanes)
        ds, stored = weight.T @ x[:, :columns], e[:, :columns]
        if activation:
            ds = np.where(stored * scale[:, None] + shift[:, None] > 0, ds, 0)
        assert np.array_equal(found[:, :columns], ds)
        assert np.isnan(found[:, columns:]).all()
        added = (each.reshape(rows, vectors, lane_count).sum(axis=1) for each in (ds, ds * stored))
        assert np.array_equal(lanes, before + np.stack(list(added), axis=1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_pixel_has_the_same_bits_in_every_tile(dtype):
    generator = np.random.default_rng(0)
    for rows in (1, 5, 7, 13):
        weight = generator.normal(size=(37, rows)).astype(dtype)
        bias, scale, shift = generator.normal(size=(3, rows)).astype(dtype)
        for activation in (False, True):
            columns = (3 * VECTORS + 2) * lanes_of(dtype)
            x = np.repeat(generator.normal(size=(37, 1)), columns, axis=1).astype(dtype)
            out = product(weight, x, bias, scale, shift, activation, columns)
            assert (out == out[:, :1]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_spoils_its_own_pixel_alone(dtype, bad):
    columns = (VECTORS + 1) * lanes_of(dtype)
    for activation in (False, True):
        x = np.ones((4, columns), dtype)
        x[2, [3, columns - 1]] = bad
        weight, zeros, ones = np.ones((4, 7), dtype), np.zeros(7, dtype), np.ones(7, dtype)
        out = product(weight, x, zeros, ones, zeros, activation, columns)
        spoiled = np.isin(np.arange(columns), [3, columns - 1])
        assert (out[:, ~spoiled] == 4).all()
        assert np.array_equal(out[:, spoiled], np.full((7, 2), bad, dtype), equal_nan=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [*range(1, 2 * GRADIENT_ROWS + 2), 12, 25])
def test_weight_gradient_of_integers_is_exact_and_added_to_what_is_there(rows, dtype):
    generator = np.random.default_rng(rows)
    for depth in [*range(1, 2 * GRADIENT_ROWS + 2), 12, 27, 75]:
        for vectors in (1, 2, 5, 32):
            columns = vectors * lanes_of(dtype)
            dz, x = integers(generator, rows, columns + 16, dtype=dtype), integers(generator, depth, columns + 32, dtype=dtype)
            before = integers(generator, rows, depth + 3, dtype=dtype)
            dweight = before.copy()
            weight_gradient(dweight, dz, x, depth, columns)
            expected = before[:, :depth] + dz[:, :columns] @ x[:, :columns].T
            assert np.array_equal(dweight[:, :depth], expected), (depth, vectors)
            assert np.array_equal(dweight[:, depth:], before[:, depth:])


@pytest.mark.parametrize("dtype", DTYPES)
def test_weight_gradient_lets_a_nan_through(dtype):
    columns = 3 * lanes_of(dtype)
    dz, x = np.ones((5, columns), dtype), np.ones((3, columns), dtype)
    dz[4, 1] = np.nan
    dweight = np.zeros((5, 3), dtype)
    weight_gradient(dweight, dz, x, 3, columns)
    assert np.isnan(dweight[4]).all() and (dweight[:4] == columns).all()
