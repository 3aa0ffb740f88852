"""A frozen part of a network: it computes what inference does, learns nothing, and what follows has the right gradients."""

import copy

import numpy as np
import pytest

import minisqx
from minisqx.errors import OptionError

BASE = {"width": 0.125, "dropout": 0.0, "dtype": "float64"}
NETWORKS = {
    "act-bn": lambda: minisqx.ShallowSqueezeNext(blocks=(1, 2, 1, 1), **BASE),
    "bn-act": lambda: minisqx.ShallowSqueezeNext(block_order="conv-bn-act", activation="relu", **BASE),
    "squeezenet": lambda: minisqx.Network(minisqx.SqueezeNetSpec("1.1", dropout=0.0), dtype="float64"),
}
STAGES = [("act-bn", "stem"), ("act-bn", "stage2"), ("act-bn", "head"), ("bn-act", "stage1"), ("squeezenet", "fire4")]
LABELS = np.arange(6) % 10


def trained(network, steps=2):
    """After a few steps, so that running statistics and parameters are those of no fresh network; and a batch."""
    x = np.random.default_rng(1).normal(size=(6, 3, 33, 32))
    optimizer = minisqx.SGD(network, lr=0.01)
    for _ in range(steps):
        network.backward(minisqx.cross_entropy(network.forward(x, training=True), LABELS)[1])
        optimizer.step()
    return x


@pytest.mark.parametrize("name, stage", STAGES)
def test_gradients_after_a_frozen_part_are_those_of_the_frozen_network(name, stage):
    network = NETWORKS[name]()
    x = trained(network)
    network.freeze(stage)
    count = network.frozen_parameters

    def loss(logits=None) -> float:
        return minisqx.cross_entropy(network.forward(x, training=True), LABELS)[0]

    network.backward(minisqx.cross_entropy(network.forward(x, training=True), LABELS)[1])
    gradient = network.flat_gradients.copy()
    assert 0 < count < gradient.size and not gradient[:count].any() and gradient[count:].any()
    generator = np.random.default_rng(0)
    for at in [count, gradient.size - 1, *generator.integers(count, gradient.size, 12)]:
        before, moved = network.flat_parameters[at], []
        for step in (1e-6, -1e-6):
            network.flat_parameters[at] = before + step
            moved.append(loss())
        network.flat_parameters[at] = before
        # The differences of a loss of about 2 over 2e-6 are exact to some 1e-9.
        assert (moved[0] - moved[1]) / 2e-6 == pytest.approx(gradient[at], abs=1e-7, rel=1e-5), at


@pytest.mark.parametrize("name, stage", STAGES)
def test_a_frozen_part_stays_as_it_is_also_in_a_copy(name, stage):
    network = NETWORKS[name]()
    x = trained(network)
    network.freeze(stage)
    before = network.state_dict()
    frozen = {layer.name for unit in network.spec.units[: network.spec.units_up_to(stage)] for layer in unit.layers}
    network.forward(x, training=True)
    outputs = network.activations()
    copied = copy.deepcopy(network)
    copied.forward(x, training=True)
    assert all(np.array_equal(values, outputs[key]) for key, values in copied.activations().items())
    optimizer = minisqx.SGD(network, lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        network.backward(minisqx.cross_entropy(network.forward(x, training=True), LABELS)[1])
        optimizer.step()
    after = network.state_dict()
    for key in before:
        assert np.array_equal(before[key], after[key]) == (key.rpartition(".")[0] in frozen), key


def test_a_network_frozen_up_to_its_classifier_computes_what_inference_does():
    network = NETWORKS["act-bn"]()
    x = trained(network)
    network.freeze("head")
    found, expected = network.forward(x, training=True), network.forward(x)
    # Inference folds the same constants in another order.
    assert np.abs(found - expected).max() < 1e-12 * np.abs(expected).max() * 1e2


def test_what_can_not_be_frozen_is_refused_with_the_names_that_can():
    network = NETWORKS["act-bn"]()
    for name in ("classifier", "stage", "stage1.block", "nothing"):
        with pytest.raises(OptionError, match="expected a stage or unit of .* stem, stage1, stage1.block1"):
            network.freeze(name)
    x = trained(network)
    network.freeze("stage2")
    with pytest.raises(OptionError, match="frozen further"):
        network.freeze("stem")
    network.forward(x, training=True)
    with pytest.raises(OptionError, match="frozen units"):
        network.backward(np.zeros((6, 10)), input_gradient=True)
