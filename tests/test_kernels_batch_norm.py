"""Batch norm's kernels one by one: statistics that keep their digits, and the coefficients of both directions."""

import numpy as np
import pytest

from minisqx.kernels import batch_norm
from minisqx.kernels.structures import Matrix, Norm, Parameters
from tests import naive
from tests.kernel_calls import DTYPES, lanes_of, product_with_moments

CHANNELS = 5


def statistics(x: np.ndarray, blocks: list[list[int]]) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean, variance and count of x (channels, values), taken in blocks of so many values, a list of blocks for each chunk.

    Whole vectors of a chunk's blocks give their moments as they are stored, what is left over gives them afterwards.
    """
    moments, counts, first = np.full((len(blocks), 2, len(x)), np.nan), np.array([sum(chunk) for chunk in blocks]), 0
    stored, lane_count = np.ascontiguousarray(x).ravel(), lanes_of(x.dtype.name)
    one, zero = np.ones((1, 1), x.dtype), np.zeros(1, x.dtype)
    for chunk, sizes in enumerate(blocks):
        lane_moments, before, at = np.zeros((len(x), 3, lane_count), x.dtype), 0, first
        for size in (size // lane_count * lane_count for size in sizes):
            for m in range(len(x)) if size else ():
                values = np.ascontiguousarray(x[m : m + 1, at : at + size])
                product_with_moments(one, values, zero, False, size, lane_moments[m], before // lane_count)
            before, at = before + size, at + size
        batch_norm.merge_lanes(moments[chunk], lane_moments.ravel(), lane_count, before // lane_count)
        if before < sum(sizes):
            batch_norm.add_moments(moments[chunk], Matrix(stored, first, x.shape[1]), before, sum(sizes) - before)
        first += sum(sizes)
    norm = norm_of(len(x))
    count = batch_norm.merge_moments(norm, moments, counts)
    return norm.mean, norm.variance, count


def norm_of(channels: int, dtype="float64", **known: np.ndarray) -> Norm:
    """Statistics of which only some are known."""
    unknown = {name: np.full(channels, np.nan, dtype if name in ("scale", "shift") else "float64") for name in Norm._fields[:-2]}
    tables = {"sums": np.full((channels, 2), np.nan), "coefficients": np.full((3, channels), np.nan, dtype)}
    return Norm(**{**unknown, **tables, **known})


CUTS = [[[1]], [[2]], [[512, 512, 37], [512, 37]], [[1], [1], [1]], [[16, 1], [15], [512, 3]]]


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("float64", 1e-13)])
@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_moments_of_blocks_and_chunks_merge_to_mean_and_biased_variance(cut, dtype, tolerance):
    total = sum(map(sum, cut))
    x = np.random.default_rng(total).normal(2, 3, (CHANNELS, total)).astype(dtype)
    mean, variance, count = statistics(x, cut)
    exact = x.astype(np.float64)
    assert count == total
    np.testing.assert_allclose(mean, exact.mean(axis=1), rtol=tolerance)
    np.testing.assert_allclose(variance, exact.var(axis=1), rtol=10 * tolerance, atol=1e-30)


@pytest.mark.parametrize("mean, spread", [(1000, 1e-2), (-3e4, 1), (1e6, 1), (1, 1e-5)])
def test_a_small_spread_beside_a_large_mean_keeps_its_digits_in_float32(mean, spread):
    """E[x^2] - E[x]^2 would lose all of them: the mean's square has 1e10 times the variance."""
    x = np.random.default_rng(0).normal(mean, spread, (CHANNELS, 4000)).astype(np.float32)
    found_mean, variance, _ = statistics(x, [[512, 512, 512, 464], [512, 488], [512, 488]])
    exact = x.astype(np.float64)
    assert np.all(exact.var(axis=1) > 0)
    np.testing.assert_allclose(found_mean, exact.mean(axis=1), rtol=1e-12)
    # Squares of deviations are summed in float32, a few hundred at a time.
    np.testing.assert_allclose(variance, exact.var(axis=1), rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_values_have_no_variance_and_a_nan_is_not_lost(dtype):
    x = np.full((CHANNELS, 700), 0.1, dtype)
    x[1, 600] = np.nan
    x[2, 5] = np.inf
    mean, variance, _ = statistics(x, [[512], [188]])
    assert (variance[[0, 3, 4]] == 0).all() and (mean[[0, 3, 4]] == x[0, 0]).all()
    assert np.isnan([mean[1], variance[1], variance[2]]).all() and not np.isfinite(mean[2])


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("float64", 1e-14)])
def test_scale_and_shift_are_the_naive_batch_norm(dtype, tolerance):
    generator = np.random.default_rng(0)
    gamma, beta, mean = generator.normal(size=(3, CHANNELS)).astype(dtype)
    # A variance that is small beside epsilon tells 1e-5 from any other epsilon.
    variance = np.array([0, 1e-7, 1e-5, 1e-2, 4])
    norm = norm_of(CHANNELS, dtype, mean=mean.astype(np.float64), variance=variance)
    batch_norm.affine(norm, Parameters(gamma[None], beta, gamma, beta))
    x = generator.normal(size=(2, CHANNELS, 3, 3))
    expected = naive.batch_norm(x, gamma.astype(float), beta.astype(float), mean.astype(float), variance)
    found = x * norm.scale[:, None, None] + norm.shift[:, None, None]
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_the_gradient_is_an_affine_function_of_the_incoming_one_and_the_value():
    generator = np.random.default_rng(0)
    x, dout = generator.normal(2, 3, (2, 4, CHANNELS, 3, 5))
    x[:, 0] *= 1e-3  # here epsilon counts
    gamma = generator.normal(size=CHANNELS)
    mean, variance = naive.batch_norm_statistics(x)
    sums = np.stack([dout.sum(axis=(0, 2, 3)), (dout * x).sum(axis=(0, 2, 3))], axis=1)
    norm = norm_of(CHANNELS, mean=mean, variance=variance, sums=sums)
    gradients = Parameters(gamma[None], gamma, *(np.full(CHANNELS, np.nan) for _ in range(2)))
    batch_norm.backward_coefficients(gradients, norm, Parameters(gamma[None], gamma, gamma, gamma), x.size / CHANNELS)
    a, b, c = norm.coefficients[:, :, None, None]
    dx, expected_dgamma, expected_dbeta = naive.batch_norm_training_backward(dout, x, gamma)
    np.testing.assert_allclose(a * dout + b * x + c, dx, rtol=0, atol=1e-11 * np.abs(dx).max())
    np.testing.assert_allclose(gradients.gamma, expected_dgamma, rtol=1e-11)
    np.testing.assert_allclose(gradients.beta, expected_dbeta, rtol=1e-14)


def test_running_statistics_take_a_tenth_of_the_batchs_unbiased_ones():
    generator = np.random.default_rng(0)
    running_mean, mean = generator.normal(size=(2, CHANNELS))
    running_var, variance = generator.uniform(1, 2, (2, CHANNELS))
    for count in (2.0, 3.0, 1000.0):
        expected = naive.batch_norm_running(running_mean, running_var, mean, variance, count)
        norm = norm_of(CHANNELS, mean=mean, variance=variance, running_mean=running_mean, running_var=running_var)
        batch_norm.update_running(norm, count)
        np.testing.assert_allclose([running_mean, running_var], expected, rtol=1e-14)
