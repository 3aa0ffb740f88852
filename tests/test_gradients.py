"""Gradients of whole networks in float64, every parameter and the input, against derivatives that know nothing of the kernels.

Central differences of the network's own forward pass, element by element (`minisqx/gradcheck.py` says with which step and which
sample); the complex step through the naive network, along a random direction in each tensor, so that every element counts; and
the naive network's backward pass, every element. Images are small, since the promise does not depend on their size; but the last
map keeps 2 x 2 pixels, or a batch norm would have next to nothing to normalise.
"""

import math

import numpy as np
import pytest

from minisqx.gradcheck import INPUT, GradientCheck, relative_difference
from minisqx.kernels import counters
from minisqx.machine.threads import threads, use_threads
from minisqx.spec import NetworkSpec
from minisqx.spec.squeezenext import SqueezeNextSpec
from tests import naive
from tests.gradient_check import complex_step
from tests.naive_network import NaiveNetwork

# The differences' own error is up to 2e-7 here, see `minisqx/gradcheck.py`.
CENTRAL = 1e-6
# Both sides are exact but for float64's rounding, through some 30 layers and their batch norms.
COMPLEX = 1e-10
# Share of the largest gradient that may be left where the true one is zero.
ZERO = 1e-12
NETWORKS = [(width, blocks, batch) for width in (0.125, 0.2) for blocks in ((1, 1, 1, 1), (1, 2, 2, 1)) for batch in range(1, 6)]
OTHER_OPTIONS = [
    {"block_order": "conv-bn-act"},
    {"block_order": "conv-bn-act", "shortcut_activation": False, "dropout": 0.0},
    {"separable_order": "3x1-1x3"},
    {"shortcut_activation": False, "input_size": (12, 15)},
    {"stem_padding": 1, "num_classes": 3},
]
OTHERS = list(enumerate(OTHER_OPTIONS, start=1))


@pytest.fixture(autouse=True)
def one_thread():
    """Some ten thousand tiny forward passes: threads would only wait for each other, and change no bit."""
    before = threads()
    use_threads(1)
    yield
    use_threads(before)


class Case(GradientCheck):
    """A check, by default of small images, that knows the naive network, too."""

    def __init__(self, batch: int, **options):
        super().__init__(SqueezeNextSpec(**{"input_size": (12, 12), **options}), batch)
        self.mask = dropout_mask(self.spec, self.seed, self.dropout_step, batch)

    def naive(self) -> NaiveNetwork:
        return NaiveNetwork(self.spec, self.state, self.mask)

    def naive_loss(self, name: str, array: np.ndarray) -> complex:
        """The naive network's loss with one tensor exchanged."""
        network = NaiveNetwork(self.spec, {**self.state, name: array}, self.mask)
        return naive.softmax_cross_entropy(network.forward(array if name == "input" else self.x, training=True), self.labels)[0]

    def is_zero(self, name: str) -> bool:
        """Whether a tensor's true gradient is zero, and backward's is rounding noise.

        A bias straight before a batch norm is taken off with the mean. And where the head ends in a batch norm, the average
        over one image alone is beta, whatever lies before.
        """
        spec = self.spec
        after_average = ("head.beta", "classifier.weight", "classifier.bias")
        if len(self.x) == 1 and spec.block_order == "conv-act-bn" and name not in after_average:
            return True
        before_norm = [c.name for c in spec.convolutions if spec.block_order == "conv-bn-act" or not c.activation]
        return name.endswith(".bias") and name[: -len(".bias")] in before_norm

    def check_central_differences(self, most: int) -> None:
        assert set(self.gradients) == {*self.spec.parameter_shapes, INPUT}
        for name, gradient in self.gradients.items():
            if self.is_zero(name):
                assert np.abs(gradient).max() <= ZERO * self.largest, name
            assert self.differences(name, most).max() <= CENTRAL, name


def dropout_mask(spec: NetworkSpec, seed: int, step: int, batch: int) -> np.ndarray | None:
    """The mask (N, C, H, W) of ones and zeros, drawn anew from the counters: see `kernels/dropout.py`."""
    if not spec.dropout:
        return None
    key, shape = counters.stream(seed, counters.DROPOUT, step), (spec.head.in_channels, *spec.head.input_size)
    images = [counters.draws(np.uint64(counters.draw(key, image)), math.prod(shape)).reshape(shape) for image in range(batch)]
    return ((np.stack(images) >> np.uint64(11)) / 2.0**53 >= spec.dropout).astype(np.float64)


@pytest.mark.parametrize("width, blocks, batch", NETWORKS)
def test_gradients_are_central_differences(width, blocks, batch):
    Case(batch, width=width, blocks=blocks).check_central_differences(most=2)


@pytest.mark.parametrize("batch, options", OTHERS)
def test_gradients_are_central_differences_with_other_options(batch, options):
    Case(batch, width=0.125, **options).check_central_differences(most=2)


def test_gradients_are_central_differences_at_full_size():
    Case(3, width=0.2, input_size=(32, 32)).check_central_differences(most=12)


@pytest.mark.parametrize("batch, options", [(3, {"width": 0.125}), (5, {"width": 0.2, "blocks": (1, 2, 2, 1)}), *OTHERS])
def test_gradients_are_the_complex_step_of_the_naive_network(batch, options):
    case = Case(batch, **{"width": 0.125, **options})
    for name, gradient in case.gradients.items():
        array = case.x if name == "input" else case.state[name]
        direction = np.random.default_rng(len(name)).choice([-1.0, 1.0], gradient.shape)

        def along(t: np.ndarray, name=name, array=array, direction=direction) -> complex:
            return case.naive_loss(name, array + t * direction)

        derivative = complex_step(along, np.zeros(1), np.arange(1))[0]
        scale = case.largest if case.is_zero(name) else np.linalg.norm(gradient)
        assert abs(derivative - (gradient * direction).sum()) <= COMPLEX * scale * np.linalg.norm(direction), name


# A batch of one and of four: where gradients are zero, and where not.
@pytest.mark.parametrize("batch, options", [(1, {"width": 0.2}), (4, {"width": 0.2, "blocks": (1, 2, 1, 1)}), *OTHERS])
def test_every_element_of_every_gradient_is_the_naive_networks(batch, options):
    case = Case(batch, **{"width": 0.125, **options})
    twin = case.naive()
    _, dlogits = naive.softmax_cross_entropy(twin.forward(case.x, training=True), case.labels)
    dx = twin.backward(dlogits)
    assert {*twin.gradients, INPUT} == set(case.gradients)
    for name, expected in {**twin.gradients, INPUT: dx}.items():
        scale = case.largest if case.is_zero(name) else None
        assert relative_difference(case.gradients[name], expected, scale) <= COMPLEX, name
