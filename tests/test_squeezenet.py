"""SqueezeNet as a whole: sizes of the public implementations, gradients against the naive network, and inference."""

from dataclasses import replace

import numpy as np
import pytest

import minisqx
from minisqx.errors import OptionError
from minisqx.gradcheck import random_state, relative_difference
from tests import naive
from tests.gradient_check import complex_step
from tests.naive_network import NaiveNetwork

# Parameters of the public implementation with 10 classes, and the sides of its maps for images of 32 x 32.
VERSIONS = {"1.0": (740_554, [13, 6, 3, 1]), "1.1": (727_626, [15, 7, 3, 1])}
COMPLEX = 1e-10


@pytest.mark.parametrize("version", VERSIONS)
def test_it_has_the_public_implementations_parameters_and_maps(version):
    spec = minisqx.SqueezeNetSpec(version)
    parameters, sides = VERSIONS[version]
    assert spec.parameters == parameters and spec.state_bytes == 4 * parameters
    assert list(dict.fromkeys(unit.output_shape[1] for unit in spec.units if len(unit.output_shape) == 3)) == sides
    assert spec.name == f"squeezenet-v{version}"


@pytest.mark.parametrize("version", VERSIONS)
def test_too_small_an_image_is_refused_and_the_smallest_is_not(version):
    side = minisqx.SqueezeNetSpec(version).min_side
    minisqx.SqueezeNetSpec(version, input_size=(side, side))
    with pytest.raises(
        OptionError, match=rf"{side} x {side - 1} pixels .width x height. is too small .* at least {side} x {side} pixels"
    ):
        minisqx.SqueezeNetSpec(version, input_size=(side - 1, side))


def test_another_version_is_refused():
    with pytest.raises(OptionError, match=r"^version '1.2': expected one of 1.0, 1.1$"):
        minisqx.SqueezeNetSpec("1.2")


def case(version: str, batch: int):
    """A network with a random state, images of its smallest size or a little more, labels, and the naive network's mask."""
    spec = minisqx.SqueezeNetSpec(version, input_size=(21, 26) if version == "1.0" else (17, 20), num_classes=5)
    generator = np.random.default_rng([ord(version[-1]), batch])
    state = random_state(spec, generator)
    net = minisqx.Network(replace(spec, dropout=0.0), dtype="float64")
    net.load_state_dict(state)
    x = generator.normal(size=(batch, 3, *spec.input_size))
    return net, state, x, generator.integers(0, spec.num_classes, batch)


@pytest.mark.parametrize("version", VERSIONS)
def test_gradients_are_the_complex_step_of_the_naive_network(version):
    """Along a random direction in each tensor, so that every element counts."""
    net, state, x, labels = case(version, 3)
    logits = net.forward(x, training=True)
    assert relative_difference(logits, NaiveNetwork(net.spec, state).forward(x, training=True)) <= COMPLEX
    _, dlogits = minisqx.cross_entropy(logits, labels)
    dx = net.backward(dlogits, input_gradient=True)
    for name, gradient in {**net.gradients(), "input": dx}.items():
        array = x if name == "input" else state[name]
        direction = np.random.default_rng(len(name)).choice([-1.0, 1.0], array.shape)

        def loss(step, name=name, array=array, direction=direction) -> complex:
            moved = array + step.reshape(()) * direction
            network = NaiveNetwork(net.spec, {**state, name: moved})
            return naive.softmax_cross_entropy(network.forward(moved if name == "input" else x, training=True), labels)[0]

        exact = complex_step(loss, np.zeros(1), np.array([0]))[0]
        found = (gradient * direction).sum()
        assert abs(found - exact) <= COMPLEX * np.abs(gradient).sum(), name


@pytest.mark.parametrize("version", VERSIONS)
def test_every_element_of_every_gradient_is_the_naive_networks(version):
    net, state, x, labels = case(version, 2)
    twin = NaiveNetwork(net.spec, state)
    _, dlogits = naive.softmax_cross_entropy(twin.forward(x, training=True), labels)
    dx = twin.backward(dlogits)
    net.forward(x, training=True)
    found = {"input": net.backward(dlogits, input_gradient=True), **net.gradients()}
    for name, expected in {"input": dx, **twin.gradients}.items():
        assert relative_difference(found.pop(name), expected) <= COMPLEX, name
    assert not found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("dtype, tolerance", [("float64", 1e-12), ("float32", 2e-5)])
def test_inference_is_the_naive_network_and_an_image_has_the_same_bits_alone(version, dtype, tolerance):
    net, state, x, _ = case(version, 19)
    found = minisqx.Network(net.spec, dtype=dtype)
    found.load_state_dict(state)
    logits = found.forward(x)
    assert relative_difference(logits, NaiveNetwork(net.spec, state).forward(x, training=False)) <= tolerance
    assert np.array_equal(np.concatenate([found.forward(x[n : n + 1]) for n in range(len(x))]), logits)
