"""Kernels without the JIT: they give what they mean, and an index outside an array is an error instead of a wrong number."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minisqx.kernels.tiles.plain import Pointer, activate, activation_backward, addresses
from tests import naive
from tests.conftest import WITHOUT_JIT

HERE = Path(__file__).parent
# Quick ones that call every kind of tile; `NUMBA_DISABLE_JIT=1 python -m pytest` runs the others, too.
SOME = ("test_kernels_sampling.py", "test_kernels_max_pool.py", "test_kernels_im2col.py", "test_kernels_batch_norm.py")


def test_files_that_run_without_the_jit_are_there():
    assert [name for name in WITHOUT_JIT if not (HERE / name).is_file()] == []


@pytest.mark.compiled
def test_kernels_pass_their_tests_without_the_jit():
    """In a process of its own: Numba decides when it is imported."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *(str(HERE / name) for name in SOME)],
        cwd=HERE.parent, env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout and "deselected" in done.stdout  # deselected: what holds for compiled kernels alone


def test_a_pointer_reads_and_writes_around_its_place_inside_the_array_alone():
    array = np.arange(10)
    pointer = Pointer(array) + 4
    assert (pointer[0], pointer[-4], (pointer + 3)[2]) == (4, 0, 9)
    pointer[1] = 50
    assert array[5] == 50
    for offset in (-5, 6):
        with pytest.raises(IndexError, match="of an array of 10"):
            pointer[offset]
        with pytest.raises(IndexError):
            pointer[offset] = 0


def test_a_block_is_a_view_with_rows_any_stride_apart_and_ends_inside_the_array():
    array = np.arange(10)
    block = (Pointer(array) + 1).block(3, 2, 3)
    assert np.array_equal(block, [[1, 2], [4, 5], [7, 8]])
    block[1] = 0
    assert array[4] == array[5] == 0
    assert np.array_equal(Pointer(array).block(2, 3, 0), [[0, 1, 2]] * 2)
    with pytest.raises(IndexError):
        (Pointer(array) + 2).block(3, 3, 3)


def test_of_an_array_its_address_is_passed_on():
    array = np.arange(3)
    pointer, number = addresses((array, 7))
    assert pointer.array is array and pointer.at == 0 and number == 7


@pytest.mark.parametrize("number, function", [(0, lambda z: z), (1, naive.elu), (2, lambda z: np.where(z < 0, 0, z))])
def test_activations_and_their_slopes(number, function):
    z = np.array([-50.0, -1, -1e-9, 0, 2, np.nan], np.float32)
    y = activate(z, number)
    np.testing.assert_allclose(y, function(z.astype(float)), rtol=1e-6)
    slope = activation_backward(np.float32(3) * np.ones_like(y), y, number)[:-1]
    expected = {0: np.ones(5), 1: np.exp(np.minimum(z[:-1], 0)), 2: [0, 0, 0, 0, 1]}[number]
    np.testing.assert_allclose(slope, 3 * np.asarray(expected), rtol=1e-6, atol=1e-7)
    assert y.dtype == slope.dtype == np.float32
