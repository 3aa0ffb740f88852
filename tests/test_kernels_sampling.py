"""Every other pixel of every other row, and back: any map, any part of a chunk's row, and nothing but a vector beyond it."""

import numpy as np
import pytest

from minisqx.kernels.sampling import add_spread, sample, spread
from minisqx.kernels.structures import Block
from tests.kernel_calls import DTYPES, lanes_of, poisoned

SIZES = [(1, 1), (1, 9), (6, 1), (2, 3), (7, 5), (8, 8), (15, 15), (30, 30), (3, 71)]
IMAGES = 3


def parts(pixels: int):
    """(first, columns) of blocks that begin and end anywhere."""
    for block in (16, 48, 512):
        yield from ((first, block) for first in range(0, pixels, block))


def maps(generator, size, dtype) -> np.ndarray:
    return generator.integers(1, 99, (IMAGES, *size)).astype(dtype)


def row_of(values: np.ndarray, dtype) -> np.ndarray:
    """Flat, with columns behind that may be read and mean nothing."""
    row = poisoned(values.size + 64, dtype)
    row[: values.size] = values.ravel()
    return row


def expected_part(values: np.ndarray, first: int, columns: int) -> np.ndarray:
    """A part of a row whose columns beyond the pixels are zero."""
    return np.concatenate([values.ravel(), np.zeros(columns, values.dtype)])[first : first + columns]


def untouched(out: np.ndarray, columns: int, dtype) -> bool:
    return np.isnan(out[:2]).all() and np.isnan(out[2 + columns + lanes_of(dtype) :]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sample_takes_every_other_pixel_of_every_other_row(size, dtype):
    x = maps(np.random.default_rng(0), size, dtype)
    samples = x[:, ::2, ::2]
    for first, columns in parts(samples.size):
        out = poisoned(columns + 64, dtype)
        sample(out, 2, row_of(x, dtype), 0, *size, Block(first, columns, samples.size))
        assert np.array_equal(out[2 : 2 + columns], expected_part(samples, first, columns))
        assert untouched(out, columns, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_spread_puts_samples_back_and_zeros_between(size, dtype):
    samples = maps(np.random.default_rng(0), size, dtype)[:, ::2, ::2]
    whole = np.zeros((IMAGES, *size), dtype)
    whole[:, ::2, ::2] = samples
    for first, columns in parts(whole.size):
        out = poisoned(columns + 64, dtype)
        spread(out, 2, row_of(samples, dtype), 0, *size, Block(first, columns, whole.size))
        assert np.array_equal(out[2 : 2 + columns], expected_part(whole, first, columns))
        assert untouched(out, columns, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_add_spread_adds_the_same(size, dtype):
    samples = maps(np.random.default_rng(0), size, dtype)[:, ::2, ::2]
    whole = np.zeros((IMAGES, *size), dtype)
    whole[:, ::2, ::2] = samples
    for first, columns in parts(whole.size):
        out = poisoned(columns + 64, dtype)
        out[2 : 2 + columns] = 100
        add_spread(out, 2, row_of(samples, dtype), 0, *size, Block(first, columns, whole.size))
        assert np.array_equal(out[2 : 2 + columns], 100 + expected_part(whole, first, columns))
        assert np.isnan(out[2 + columns :]).all()
