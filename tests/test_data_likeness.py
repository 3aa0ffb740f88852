"""Copies and near-copies in two parts are found, counted and named; different images are not."""

import numpy as np
import pytest

from minisqx.data import likeness as lines
from minisqx.data.dataset import Part
from minisqx.data.likeness import likeness_lines
from minisqx.kernels import likeness
from tests.image_folders import picture

RANDOM = np.random.default_rng(0)


def photographs(count, side=32, seed=0):
    """Smooth random images."""
    coarse = np.random.default_rng(seed).integers(20, 235, (count, 8, 8, 3)).astype(float)
    return np.kron(coarse, np.ones((1, side // 8, side // 8, 1))).astype(np.uint8)


def part(images, name="a"):
    return Part(images, np.zeros(len(images), np.int64), tuple(f"{name}/{at}.png" for at in range(len(images))))


def test_copies_and_near_copies_are_counted_and_named():
    train, test = photographs(200), photographs(50, seed=1)
    test[7] = train[31]
    test[9] = np.clip(train[5].astype(int) + RANDOM.integers(-6, 7, train[5].shape), 0, 255)
    test[11] = train[77] * 0.97 + 2
    found = list(likeness_lines({"train": part(train), "validation": part(test[:5], "v"), "test": part(test, "b")}))
    assert found == [
        f"{what}: accuracy on them flatters"
        for what in (
            "1 of 50 test images are training images, such as b/7.png and a/31.png",
            "2 of 50 test images nearly are training images, such as b/9.png and a/5.png, b/11.png and a/77.png",
        )
    ]


def test_different_images_are_not_alike():
    assert list(likeness_lines({"train": part(photographs(500)), "test": part(photographs(300, seed=1))})) == []


def test_the_nearest_image_is_that_of_a_plain_search():
    images = np.stack([picture(seed, (17, 23)) for seed in range(40)])
    others = np.concatenate([images[::3] // 2 + 40, np.stack([picture(seed, (17, 23)) for seed in range(100, 130)])])
    (grey, bits), (other_grey, other_bits) = lines._described(images), lines._described(others)
    found = np.empty(len(images), np.int64)
    likeness.nearest(found, grey, bits, other_grey, other_bits)
    for n in range(len(images)):
        differing = np.array([bin(int(bits[n]) ^ int(other)).count("1") for other in other_bits])
        distance = np.abs(grey[n].astype(int) - other_grey).sum(axis=1)
        near = np.flatnonzero((differing <= likeness.MOST_BITS) & (distance <= likeness.MOST_GREY * likeness.CELLS))
        assert found[n] == (near[distance[near].argmin()] if len(near) else -1)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (8, 9), (32, 32), (50, 61)])
def test_a_cell_is_the_mean_grey_of_its_pixels(size):
    image = RANDOM.integers(0, 256, (1, *size, 3), dtype=np.uint8)
    grey, bits = lines._described(image)
    cells = np.empty((8, 9))
    for i in range(8):
        for j in range(9):
            rows = slice(i * size[0] // 8, max((i + 1) * size[0] // 8, i * size[0] // 8 + 1))
            columns = slice(j * size[1] // 9, max((j + 1) * size[1] // 9, j * size[1] // 9 + 1))
            cells[i, j] = (image[0, rows, columns] @ [0.25, 0.625, 0.125]).mean()
    assert np.abs(grey.reshape(8, 9) - cells).max() <= 0.5
    plain = (grey.reshape(8, 9)[:, :-1] < grey.reshape(8, 9)[:, 1:]).ravel()
    assert int(bits[0]) == int("".join("01"[bit] for bit in plain.astype(int)), 2)


def test_ones_are_counted():
    for word in (0, 1, 2**64 - 1, 0x8000000000000001, 0x123456789ABCDEF0):
        assert likeness.ones_in(np.uint64(word)) == bin(word).count("1")


def test_too_many_pairs_are_not_compared_and_that_is_said(monkeypatch):
    monkeypatch.setattr(lines, "MOST_PAIRS", 99)
    (line,) = likeness_lines({"train": part(photographs(10)), "test": part(photographs(10))})
    assert "not looked for" in line
