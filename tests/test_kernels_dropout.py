"""Dropout: the mask is a fair draw, the same for every cut, and the same backward as forward."""

from dataclasses import replace

import numpy as np
import pytest

from minisqx.kernels import counters, dropout
from minisqx.layers import Dropout, Gradient, Workspace, cut_of
from minisqx.spec import DropoutSpec
from tests import naive
from tests.kernel_calls import DTYPES, packed, padding_is_zero
from tests.test_data_loader import naive_bits

SHAPE = (13, 6, 5, 4)


def stored(x, dtype="float64", images_per_chunk=None):
    """x as a layer's input, nothing deferred."""
    return Workspace(dtype).plain(*packed(x, dtype, images_per_chunk))


def dropout_layer(probability, seed, channels, dtype="float64") -> Dropout:
    return Dropout(DropoutSpec("dropout", channels, SHAPE[2:], probability), Workspace(dtype, seed))


def forward(layer: Dropout, x, step: int):
    layer.workspace.dropout_step = step
    return layer.forward(x)


def mask_of(probability, seed=0, step=1, shape=SHAPE, images_per_chunk=None) -> np.ndarray:
    """Which elements are kept, (N, C, H, W)."""
    x = stored(np.ones(shape), images_per_chunk=images_per_chunk)
    return forward(dropout_layer(probability, seed, shape[1]), x, step).values() != 0


def naive_mask(probability, seed, step, shape) -> np.ndarray:
    """The same draws one by one: of a key that is itself a draw, the image's, and of 53 bits as a number in [0, 1)."""
    kept = np.empty(shape, bool)
    for image in range(shape[0]):
        key = np.uint64(naive_bits(seed, counters.DROPOUT, step, image))
        for element, place in enumerate(np.ndindex(shape[1:])):
            kept[(image, *place)] = (int(counters.draw(key, element)) >> 11) / 2**53 >= probability
    return kept


@pytest.mark.parametrize("probability", [0.1, 0.3, 0.75])
def test_the_mask_is_drawn_from_seed_step_image_and_element(probability):
    shape = (3, 4, 2, 5)
    for seed, step in ((0, 1), (7, 1), (0, 2)):
        assert np.array_equal(mask_of(probability, seed, step, shape), naive_mask(probability, seed, step, shape))


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("float64", 1e-15)])
def test_kept_elements_are_scaled_by_one_over_the_share_that_is_kept(dtype, tolerance):
    generator = np.random.default_rng(0)
    x, scale, shift = generator.normal(size=SHAPE), *generator.normal(size=(2, SHAPE[1]))
    x, scale, shift = x.astype(dtype), scale.astype(dtype), shift.astype(dtype)
    # Three rows of others lie before, as in a tensor of two convolutions; they are poison.
    more = np.concatenate([np.full((SHAPE[0], 3, *SHAPE[2:]), np.nan), x], axis=1)
    source = replace(stored(more, dtype, 4), row=3, scale=scale, shift=shift)
    layer = dropout_layer(0.3, 5, SHAPE[1], dtype)
    layer.buffers_for(source.layout)[0].data[...] = np.nan
    y = forward(layer, source, 2)
    values = x.astype(float) * scale[:, None, None] + shift[:, None, None]
    expected = naive.dropout(values, mask_of(0.3, 5, 2), 0.3)
    np.testing.assert_allclose(y.values(), expected, rtol=0, atol=tolerance * np.abs(expected).max())
    assert padding_is_zero(y.data, y.layout)


@pytest.mark.parametrize("dtype", DTYPES)
def test_backward_has_the_mask_and_the_scale_of_forward(dtype):
    layer = dropout_layer(0.3, 0, SHAPE[1], dtype)
    factor = forward(layer, stored(np.ones(SHAPE), dtype), 4).values()
    dout = np.random.default_rng(0).integers(-9, 10, SHAPE).astype(dtype)
    layer.dx.data[...] = np.nan
    gradient = layer.backward(Gradient(stored=packed(dout, dtype)[0]))
    assert np.array_equal(layer.layout.unpack(gradient.stored), dout * factor)
    assert padding_is_zero(gradient.stored, layer.layout)


def test_without_dropout_nothing_is_copied_or_drawn():
    layer, x, gradient = dropout_layer(0.0, 0, SHAPE[1]), stored(np.ones(SHAPE)), Gradient()
    assert layer.forward(x) is x and layer.backward(gradient) is gradient


@pytest.mark.parametrize("images_per_chunk", [1, 2, 5, 13])
def test_the_mask_is_the_same_for_every_cut_into_chunks(images_per_chunk):
    assert np.array_equal(mask_of(0.3, images_per_chunk=images_per_chunk), mask_of(0.3))


def test_an_images_mask_does_not_depend_on_how_many_images_come_after_it():
    assert np.array_equal(mask_of(0.3, shape=(4, *SHAPE[1:])), mask_of(0.3)[:4])


@pytest.mark.parametrize("probability", [1e-4, 0.1, 0.3, 0.5, 0.9])
def test_the_share_of_dropped_elements_is_the_probability(probability):
    shape = (50, 8, 10, 10)
    dropped = ~mask_of(probability, shape=shape)
    deviation = np.sqrt(probability * (1 - probability))
    assert abs(dropped.mean() - probability) < 4 * deviation / np.sqrt(dropped.size)
    # No image, channel or pixel is favoured; 5 standard deviations of the largest group.
    for axes in ((1, 2, 3), (0, 2, 3), (0, 1)):
        shares = dropped.mean(axis=axes)
        assert np.abs(shares - probability).max() < 5 * deviation * np.sqrt(shares.size / dropped.size)


def test_masks_of_other_steps_seeds_images_and_channels_have_nothing_in_common():
    shape = (40, 8, 10, 10)
    first = mask_of(0.5, shape=shape)
    pairs = [
        (first, mask_of(0.5, step=2, shape=shape)),
        (first, mask_of(0.5, seed=1, shape=shape)),
        (first[:-1], first[1:]),
        (first[:, :-1], first[:, 1:]),
        (first[..., :-1], first[..., 1:]),
    ]
    for one, other in pairs:
        assert abs((one == other).mean() - 0.5) < 4 * 0.5 / np.sqrt(one.size)


def test_the_largest_probability_below_one_still_gives_finite_numbers():
    probability = 1 - 2.0**-53
    x = stored(np.ones(SHAPE))
    out = np.full_like(x.data, np.nan)
    dropout.apply(out, x.tensor(), probability, np.array([counters.stream(0)]), cut_of(x.layout))
    assert np.isin(x.layout.unpack(out), [0, 2.0**53]).all()
