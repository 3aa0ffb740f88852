"""The network in one call: the naive network's numbers for any size and option, an image's bits alone and in any batch."""

from dataclasses import replace

import numba
import numpy as np
import pytest

import minisqx
from minisqx import steps
from minisqx.gradcheck import random_state, relative_difference
from minisqx.kernels.layout import Layout
from minisqx.machine.threads import threads, use_threads
from minisqx.spec.squeezenext import SqueezeNextSpec
from tests.kernel_calls import poisoned
from tests.naive_network import NaiveNetwork

# Some thirty layers, each with a batch norm.
TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
OPTIONS = [
    {},
    {"blocks": (2, 1, 3, 1), "num_classes": 3},
    {"block_order": "conv-bn-act"},
    {"shortcut_activation": False, "separable_order": "3x1-1x3"},
    {"block_order": "conv-bn-act", "shortcut_activation": False, "stem_padding": 1},
]


@pytest.fixture(autouse=True)
def poisoned_memory(monkeypatch):
    monkeypatch.setattr(steps, "aligned_empty", lambda size, dtype: poisoned(size, dtype))


def network(dtype="float64", **options) -> tuple[minisqx.ShallowSqueezeNext, dict]:
    spec = SqueezeNextSpec(**{"width": 0.125, **options})
    state = random_state(spec, np.random.default_rng(0))
    net = minisqx.Network(spec, dtype=dtype)
    net.load_state_dict(state)
    return net, state


def images(count: int, size: tuple[int, int], dtype="float64") -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, 3, *size)).astype(dtype)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_logits_are_the_naive_networks(options, dtype):
    net, state = network(dtype, **options)
    for count, size in ((1, (8, 8)), (3, (12, 17)), (11, (9, 8)), (2, (35, 31))):
        x = images(count, size, dtype)
        expected = NaiveNetwork(replace(net.spec, input_size=size), state).forward(x.astype(np.float64), training=False)
        found = net.forward(x)
        assert found.dtype == dtype and relative_difference(found, expected) <= TOLERANCE[dtype]


@pytest.mark.parametrize("width", [0.2, 1.0])
def test_logits_of_wide_networks_are_the_naive_networks(width):
    net, state = network(width=width)
    x = images(2, (32, 32))
    assert relative_difference(net.forward(x), NaiveNetwork(net.spec, state).forward(x, training=False)) <= TOLERANCE["float64"]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("width, size", [(0.125, (8, 8)), (0.2, (32, 32)), (0.5, (19, 26))])
def test_an_image_has_the_same_bits_alone_and_in_any_batch(width, size, dtype):
    net, _ = network(dtype, width=width)
    x = images(35, size, dtype)
    alone = np.concatenate([net.forward(x[i : i + 1]) for i in range(len(x))])
    assert np.isfinite(alone).all() and len(np.unique(alone[:, 0])) == len(x)
    for count in (2, 3, 8, 9, 17, 35):
        assert np.array_equal(net.forward(x[:count]), alone[:count])
    assert np.array_equal(net.forward(x[::-1]), alone[::-1])


def test_any_number_of_threads_gives_the_same_bits():
    net, _ = network("float32")
    x, before, found = images(35, (32, 32), "float32"), threads(), []
    for count in range(1, numba.config.NUMBA_NUM_THREADS + 1):
        use_threads(count)
        found.append(net.forward(x).tobytes())
    use_threads(before)
    assert len(set(found)) == 1


def test_a_plan_keeps_the_network_as_it_was_and_leaves_the_input_alone():
    net, _ = network()
    x = images(3, (12, 12))
    frozen, layout = net.plan(), Layout.of_batch(3, 12, 12, "float64")
    data = layout.pack(x, layout.empty(3, "float64"))
    copy, expected = data.copy(), net.forward(x)
    net.flat_parameters[:] = 0
    assert np.array_equal(frozen.run(data, layout), expected) and np.array_equal(data, copy)
    assert not np.array_equal(net.forward(x), expected)


def test_tensors_in_the_plans_memory_do_not_overlap_while_they_are_needed():
    """Blocks of every kind, so that tensors of many sizes come and go; a place given back too early would spoil the numbers."""
    net, state = network(blocks=(3, 2, 1, 4), width=0.2, shortcut_activation=False)
    x = images(2, (16, 24))
    spec = replace(net.spec, input_size=(16, 24))
    expected = NaiveNetwork(spec, state).forward(x, training=False)
    assert relative_difference(net.forward(x), expected) <= TOLERANCE["float64"]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_pixels_that_nobody_reads_make_no_difference_to_the_bits(options, monkeypatch):
    """With every pixel of every layer computed, and the strides where the description has them."""
    net, state = network("float32", **options)
    x = images(3, (31, 26), "float32")
    found = net.forward(x)
    bottlenecks = SqueezeNextSpec.bottlenecks.func
    whole = property(lambda spec: tuple(replace(block, sampled=False) for block in bottlenecks(spec)))
    monkeypatch.setattr(SqueezeNextSpec, "bottlenecks", whole)
    net = minisqx.Network(replace(net.spec))
    net.load_state_dict(state)
    assert np.array_equal(net.forward(x), found)
