"""ELU: its accuracy over every magnitude, and its values at NaN, infinity and zero."""

import numpy as np
import pytest

from minisqx.gradcheck import STEP, central_differences
from minisqx.kernels.activation import NUMBERS, number_of
from minisqx.kernels.activation_table import ACTIVATIONS
from minisqx.spec.activations import TITLES
from tests.kernel_calls import DTYPES, activate

# Units in the last place, as `Vectors.elu` promises.
ULPS = 2


def errors_in_ulps(x: np.ndarray) -> np.ndarray:
    """|ours - expm1| in spacings of the right answer; expm1 of a longer type, where the machine has one."""
    exact = np.expm1(x.astype(np.longdouble))
    spacing = np.spacing(np.abs(exact).astype(x.dtype))
    return np.abs(activate(x).astype(np.longdouble) - exact) / spacing


def negatives(dtype: str) -> np.ndarray:
    """Half a million negative numbers: every exponent, denormals and all, and evenly from 0 to where -1 is reached."""
    bits = np.dtype(dtype).itemsize * 8
    unsigned = np.dtype(f"uint{bits}")
    infinity = int(np.array(np.inf, dtype).view(unsigned))
    patterns = np.linspace(1, infinity - 1, 250_000).astype(unsigned) | unsigned.type(1 << (bits - 1))
    return np.concatenate([patterns.view(dtype), np.linspace(-40, 0, 250_000, endpoint=False).astype(dtype)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_elu_of_negative_numbers_is_expm1_within_two_units_in_the_last_place(dtype):
    x = negatives(dtype)
    assert (x < 0).all() and np.abs(x).min() < np.finfo(dtype).tiny
    # Where long double is no longer than float64, the reference has an error of its own.
    reference = 1 if np.finfo(np.longdouble).eps >= np.finfo(dtype).eps else 0
    assert errors_in_ulps(x).max() <= ULPS + reference


@pytest.mark.parametrize("dtype", DTYPES)
def test_elu_never_falls_below_minus_one_so_its_derivative_is_never_negative(dtype):
    x = negatives(dtype)
    y = activate(x)
    assert y.min() == -1 and (y[x < -50] == -1).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_elu_of_positive_numbers_is_the_number_itself(dtype):
    x = np.abs(negatives(dtype))
    assert np.array_equal(activate(x), x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_elu_at_the_ends_and_at_zero(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    x = np.array([np.inf, -np.inf, 0.0, -0.0, tiny, -tiny, np.finfo(dtype).max, -np.finfo(dtype).max], dtype)
    assert np.array_equal(activate(x), np.array([np.inf, -1, 0, 0, tiny, -tiny, np.finfo(dtype).max, -1], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_elu_keeps_nan(dtype):
    x = np.arange(-20, 20).astype(dtype)
    x[::7] = np.nan
    x[3::7] = -np.array(np.nan, dtype)
    assert np.array_equal(np.isnan(activate(x)), np.isnan(x))


def test_the_table_names_each_activation_once():
    assert len(NUMBERS) == len(ACTIVATIONS) + 1 and list(NUMBERS)[1:] == list(TITLES) and len(set(TITLES.values())) == len(TITLES)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 2.0**-22), ("float64", 2.0**-51)])
@pytest.mark.parametrize("entry", ACTIVATIONS, ids=lambda entry: entry.name)
def test_an_entrys_code_and_its_meaning_in_numpy_agree(entry, dtype, tolerance):
    x = np.concatenate([np.linspace(-30, 30, 1001), [0.0, np.nan, np.inf, -np.inf]]).astype(dtype)
    found = activate(x, number_of(entry.name))
    np.testing.assert_allclose(found, entry.values(x.astype(np.float64)), rtol=tolerance, atol=0)


@pytest.mark.parametrize("entry", ACTIVATIONS, ids=lambda entry: entry.name)
def test_an_entrys_slope_from_its_output_is_its_derivative(entry):
    z = np.linspace(-5, 5, 100)
    assert np.abs(z).min() > STEP  # off the kink
    numeric = central_differences(lambda: entry.values(z).sum(), z, np.arange(z.size))
    np.testing.assert_allclose(entry.values_backward(np.ones_like(z), entry.values(z)), numeric, atol=1e-7)
