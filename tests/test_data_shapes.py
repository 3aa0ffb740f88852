"""The embedded data set is the same everywhere, balanced, and no gift to a classifier that does not see shapes."""

import hashlib

import numpy as np
import pytest

from minisqx.data.shapes import SHAPES, draw_shapes


@pytest.fixture(scope="module")
def shapes():
    return draw_shapes()


def test_it_is_the_same_on_every_machine(shapes):
    assert hashlib.sha256(shapes.train.images).hexdigest().startswith("af78e664f54725b5")
    assert hashlib.sha256(shapes.test.images).hexdigest().startswith("387d8be327375bae")


def test_it_has_as_many_images_of_every_class_and_none_twice(shapes):
    assert shapes.classes == tuple(SHAPES) and shapes.image_size == (32, 32)
    assert np.bincount(shapes.train.labels).tolist() == [600] * 10
    assert np.bincount(shapes.test.labels).tolist() == [100] * 10
    everything = np.concatenate([shapes.train.images, shapes.test.images]).reshape(7000, -1)
    assert len(np.unique(everything, axis=0)) == 7000


def test_colour_and_place_say_nothing_about_the_class(shapes):
    """A linear classifier (ridge regression on all pixels) stays near chance, 10 %."""
    pixels = shapes.train.images.reshape(6000, -1)[:, ::3] / 127.5 - 1
    targets = np.eye(10)[shapes.train.labels]
    weights = np.linalg.solve(pixels.T @ pixels + 1000 * np.eye(1024), pixels.T @ targets)
    guesses = (shapes.test.images.reshape(1000, -1)[:, ::3] / 127.5 - 1) @ weights
    assert (guesses.argmax(axis=1) == shapes.test.labels).mean() < 0.3


def test_shapes_differ_from_each_other_in_outline():
    v, u = np.mgrid[-1.2:1.2:97j, -1.2:1.2:97j]
    masks = [inside(u, v) for inside in SHAPES.values()]
    for number, one in enumerate(masks):
        assert 0.08 < one.mean() < 0.6
        for other in masks[:number]:
            assert (one ^ other).sum() > 0.15 * (one | other).sum()
