"""The memory layout: every image has its place, rows lie where the cache likes them, and the cut depends on the batch alone."""

import numpy as np
import pytest

from minisqx.kernels.layout import CACHE_LINE, MAX_CHUNKS, MAX_IMAGES_IN_CHUNK, Layout, aligned_empty
from tests.kernel_calls import DTYPES, padding_is_zero, poisoned

SIZES = [(1, 1), (4, 4), (5, 3), (15, 15), (32, 32)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("images", [1, 2, 7, 16, 17, 128, 130])
def test_what_is_packed_comes_back_and_its_padding_is_zero(images, dtype):
    for size in SIZES:
        x = np.random.default_rng(images).normal(size=(images, 3, *size)).astype(dtype)
        layout = Layout.of_batch(images, *size, dtype)
        data = layout.pack(x, poisoned((layout.chunks, 3, layout.stride), dtype))
        assert np.isfinite(data).all() and padding_is_zero(data, layout)
        assert np.array_equal(layout.unpack(data), x)
        image, channel, y, column = images - 1, 2, size[0] - 1, size[1] // 2
        chunk, inside = divmod(image, layout.images_per_chunk)
        assert data[chunk, channel, (inside * size[0] + y) * size[1] + column] == x[image, channel, y, column]


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_begin_on_a_cache_line_and_are_an_odd_number_of_them_apart(dtype):
    for images in (1, 3, 40, 128):
        for size in SIZES:
            layout = Layout.of_batch(images, *size, dtype)
            data = layout.empty(5, dtype)
            assert data.ctypes.data % CACHE_LINE == 0 and data.flags.c_contiguous
            assert data.strides[1] % CACHE_LINE == 0 and data.strides[1] // CACHE_LINE % 2 == 1
            assert layout.padded(0) <= layout.stride


def test_a_batch_is_cut_into_many_chunks_of_few_images():
    for images in range(1, 300):
        layout = Layout.of_batch(images, 4, 4, "float32")
        counts = [layout.images_in(chunk) for chunk in range(layout.chunks)]
        assert sum(counts) == images and min(counts) >= 1 and max(counts) <= MAX_IMAGES_IN_CHUNK
        assert layout.chunks <= MAX_CHUNKS or max(counts) == MAX_IMAGES_IN_CHUNK
        assert set(counts[:-1]) <= {layout.images_per_chunk}


def test_larger_chunks_are_so_many_times_as_large_and_as_few():
    usual, larger = (Layout.of_batch(128, 4, 4, "float32", times) for times in (1, 4))
    assert (usual.images_per_chunk, usual.chunks) == (8, 16) and (larger.images_per_chunk, larger.chunks) == (32, 4)
    for images in range(1, 300):
        layout = Layout.of_batch(images, 4, 4, "float32", 4)
        assert layout.images_per_chunk <= 4 * MAX_IMAGES_IN_CHUNK
        assert layout.chunks <= MAX_CHUNKS // 4 or layout.images_per_chunk == 4 * MAX_IMAGES_IN_CHUNK


def test_a_vector_may_be_read_after_the_last_element():
    for shape in (1, 16, (3, 5)):
        array = aligned_empty(shape, "float32")
        memory = array
        while memory.base is not None:
            memory = memory.base
        assert memory.ctypes.data + memory.nbytes - (array.ctypes.data + array.nbytes) >= CACHE_LINE
