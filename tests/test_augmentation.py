"""Augmentation: its text, and each change against a plain twin."""

import math
from dataclasses import replace

import numpy as np
import pytest

from minisqx.data import Loader
from minisqx.data.augmentation import AUTO, USUAL, Augmentation
from minisqx.errors import OptionError
from minisqx.kernels import distort
from minisqx.kernels.counters import DISTORTION, stream

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (11, 8, 3), dtype=np.uint8)


def batches(augment, images=IMAGE[None], seed=0, epoch=0):
    """The images of an epoch as a network gets them, as pixels 0 to 255, (N, H, W, 3), in the order of `images`."""
    loader = Loader(
        images, np.zeros(len(images), np.int64), 16, mean=(0,) * 3, std=(1,) * 3, augment=augment, seed=seed, shuffle=False
    )  # fmt: skip
    found = [batch.layout.unpack(batch.data) for batch in loader.epoch(epoch)]
    return np.rint(np.concatenate(found).transpose(0, 2, 3, 1) * 255).astype(np.uint8)


def placed(image, shift=(0, 0), flipped=False, turn=(1.0, 0.0)):
    packed, out = np.empty((2, image.shape[0] * image.shape[1]), np.uint64), np.empty_like(image)
    distort.pack(packed[0], image)
    distort.place(packed[1], packed[0], image.shape[:2], shift, flipped, turn)
    distort.unpack(out, packed[1])
    return out


def naive_placed(image, shift, flipped, turn):
    """Bilinear in float64, at the exact positions."""
    height, width, _ = image.shape
    padded = np.zeros((height + 2, width + 2, 3))
    padded[1:-1, 1:-1] = image
    found = np.zeros(image.shape)
    for y in range(height):
        for x in range(width):
            u, v = x - (width - 1) / 2, y - (height - 1) / 2
            u = -u if flipped else u
            across = (width - 1) / 2 + shift[1] + turn[0] * u - turn[1] * v
            down = (height - 1) / 2 + shift[0] + turn[1] * u + turn[0] * v
            if -1 < across < width and -1 < down < height:
                left, top = math.floor(across), math.floor(down)
                wx, wy = across - left, down - top
                corners = padded[top + 1 : top + 3, left + 1 : left + 3]
                found[y, x] = np.einsum("i,j,ijc->c", [1 - wy, wy], [1 - wx, wx], corners)
    return found


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("shift", [(0, 0), (2, -3), (-4, 4), (20, 0)])
def test_without_a_turn_pixels_keep_their_values(shift, flipped):
    assert np.array_equal(placed(IMAGE, shift, flipped), np.rint(naive_placed(IMAGE, shift, flipped, (1, 0))))


@pytest.mark.parametrize("flipped", [False, True])
@pytest.mark.parametrize("degrees, scale", [(10, 1.0), (-33, 0.7), (90, 1.0), (0, 1.3), (179, 0.5)])
def test_a_turned_image_is_its_bilinear_twin(degrees, scale, flipped):
    turn = math.cos(math.radians(degrees)) / scale, math.sin(math.radians(degrees)) / scale
    found, expected = placed(IMAGE, (1, -2), flipped, turn), naive_placed(IMAGE, (1, -2), flipped, turn)
    # Two roundings, and weights of 1/256: of the four neighbours, a pixel on an edge to black may differ by 2.
    assert np.abs(found - expected).max() <= 3 and np.abs(found - expected).mean() < 0.7


def test_a_quarter_turn_of_a_square_is_exact():
    square = np.ascontiguousarray(IMAGE[:8])
    assert np.array_equal(placed(square, turn=(0.0, 1.0)), np.rot90(square))


@pytest.mark.parametrize("factors", [(1.2, 1, 1), (0.5, 1, 1), (1, 1.5, 1), (1, 0, 1), (1, 1, 0), (1, 1, 2), (1.1, 0.8, 1.3)])
def test_colours_change_as_8_bit_images_do(factors):
    def towards(centre, values, factor):
        return np.clip(np.floor(centre + round(factor * 2**16) / 2**16 * (values - centre) + 0.5), 0, 255)

    def grey(values):
        return np.floor(values @ [19595, 38470, 7471] / 2**16 + 0.5)[..., None]

    brightness, contrast, saturation = factors
    expected = towards(0, IMAGE.astype(float), brightness)
    expected = towards(np.floor(grey(expected).mean() + 0.5), expected, contrast)
    expected = towards(grey(expected), expected, saturation)
    found = IMAGE.copy()
    distort.recolour(found, *map(float, factors))
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("ratio", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("area", [0.02, 0.33])
@pytest.mark.parametrize("corner", [0.0, 0.999999])
def test_an_erased_rectangle_lies_within_the_image_and_has_its_area(area, ratio, corner):
    image = np.full((40, 30, 3), 7, np.uint8)
    distort.erase(image, np.array([1, 2, 3], np.uint8), area, ratio, corner, corner)
    erased = (image == [1, 2, 3]).all(axis=2)
    rows, columns = np.flatnonzero(erased.any(axis=1)), np.flatnonzero(erased.any(axis=0))
    assert erased.sum() == len(rows) * len(columns) and (image[~erased] == 7).all()
    assert (rows[-1] == 39 and columns[-1] == 29) if corner else (rows[0] == 0 and columns[0] == 0)
    if len(rows) < 40 and len(columns) < 30:
        assert erased.sum() == pytest.approx(area * 1200, abs=(len(rows) + len(columns)) / 2 + 1)


def test_a_sample_is_distorted_by_its_seed_epoch_and_index_alone():
    images = RANDOM.integers(0, 256, (20, 9, 9, 3), dtype=np.uint8)
    # No crop, which has its own draws.
    turned = "rotate,scale,brightness"
    one, same = batches(turned, images), batches(turned, images)
    assert np.array_equal(one, same) and (one != images).any()
    for other in (batches(turned, images, seed=1), batches(turned, images, epoch=1)):
        assert all((a != b).any() for a, b in zip(one, other))


def test_draws_are_spread_evenly_over_both_directions_and_independent():
    key = stream(3, DISTORTION, 1)
    found = np.array([[distort.either_way(key, sample, number, 2.0) for number in range(10)] for sample in range(4000)])
    assert found.min() >= -2 and found.max() < 2
    assert np.abs(found.mean(axis=0)).max() < 0.08 and np.abs(found.std(axis=0) - 4 / math.sqrt(12)).max() < 0.03
    assert np.abs(np.corrcoef(found.T) - np.eye(10)).max() < 0.07


@pytest.mark.parametrize("name", ["rotate", "scale", "brightness", "contrast", "saturation", "erase"])
def test_each_change_alone_is_its_own_function_of_the_sample(name):
    """All images of an epoch, made once more by the steps of `distort`."""
    images = RANDOM.integers(0, 256, (12, 10, 9, 3), dtype=np.uint8)
    chosen = Augmentation(**{name: USUAL[name]})
    key = stream(0, DISTORTION, 0)
    for sample, found in enumerate(batches(str(chosen), images)):

        def drawn(number, limit, sample=sample):
            return distort.either_way(key, sample, number, limit)

        angle, size = drawn(0, math.radians(chosen.rotate)), 1 + drawn(1, chosen.scale)
        expected = placed(images[sample], turn=(math.cos(angle) / size, math.sin(angle) / size))
        if name in ("brightness", "contrast", "saturation"):
            distort.recolour(expected, *(1 + drawn(2 + at, getattr(chosen, each)) for at, each in enumerate(list(USUAL)[4:7])))
        if name == "erase":
            erased = (found == 0).all(axis=2)
            assert (found[~erased] == expected[~erased]).all()
            assert bool(erased.any()) == (distort.share(key, sample, 5) < 0.5)
        else:
            assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("none", Augmentation()),
        ("crop,flip", Augmentation(crop=4, flip=True)),
        ("crop-flip", Augmentation(crop=4, flip=True)),
        ("rotate=12.5, erase", Augmentation(rotate=12.5, erase=0.5)),
        ("brightness=1", Augmentation(brightness=1.0)),
        ("rotate=12.3456789,scale=0.30000000000000004", Augmentation(rotate=12.3456789, scale=0.1 + 0.2)),
        (AUTO, Augmentation(4, False, 10.0, 0.1, 0.2, 0.2, 0.2, 0.0)),
    ],
)
def test_text_becomes_an_augmentation_and_back(text, expected):
    found = Augmentation.parse(text)
    assert found == expected and Augmentation.parse(str(found)) == found


@pytest.mark.parametrize(
    "text",
    ["", "crop,crop", "flip=1", "rotate=200", "rotate=-1", "scale=1", "erase=nan", "crop=1.5", "cutout", "crop=", "none,flip", 5],
)
def test_other_text_is_refused_in_one_line(text):
    with pytest.raises(OptionError) as caught:
        Augmentation.parse(text)
    assert "\n" not in str(caught.value) and "expected" in str(caught.value)


def test_an_image_without_any_change_is_itself():
    nothing = replace(Augmentation.parse(AUTO), crop=0, rotate=0.0, scale=0.0, brightness=0.0, contrast=0.0)
    assert str(nothing) == "saturation"
    grey = np.repeat(IMAGE[..., :1], 3, axis=2)
    assert np.array_equal(batches("saturation", grey[None])[0], grey)
