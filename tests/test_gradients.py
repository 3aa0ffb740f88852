"""Gradients of whole networks in float64, every parameter and the input, against two derivatives that know nothing of backprop.

Central differences of the network's own forward pass, element by element (`gradient_check.py` says with which step and which
sample), and the complex step through the naive network, along a random direction in each tensor, so that every element
counts. Images are small, since the promise does not depend on their size; but the last map keeps 2 x 2 pixels, or a batch
norm would have next to nothing to normalise.
"""

import math

import numpy as np
import pytest

import minisqx
from minisqx.kernels import counters
from minisqx.spec import NetworkSpec
from minisqx.squeezenext import SqueezeNextSpec
from minisqx.threads import threads, use_threads
from tests import naive
from tests.gradient_check import central_differences, complex_step, relative_difference, sample
from tests.naive_network import NaiveNetwork, random_state

# The issue's promise. The differences' own error is up to 2e-7 here, see `gradient_check.py`.
CENTRAL = 1e-6
# Both sides are exact but for float64's rounding, through some 30 layers and their batch norms.
COMPLEX = 1e-10
# Share of the largest gradient that may be left where the true one is zero.
ZERO = 1e-12
# Of 40 seeds the one with which the smallest of all tensors' gradients is largest, against its network's largest (0.8 %).
# With others it is down to 0.003 %, where a layer of one channel meets only one side of ELU: nothing is left there that
# differences could measure to 1e-6.
SEED = 2
STEP = 5  # dropout's step: the same mask at every forward

NETWORKS = [(width, blocks, batch) for width in (0.125, 0.2) for blocks in ((1, 1, 1, 1), (1, 2, 2, 1)) for batch in range(1, 6)]
OTHER_OPTIONS = [
    {"block_order": "conv-bn-act"},
    {"block_order": "conv-bn-act", "shortcut_activation": False, "dropout": 0.0},
    {"separable_order": "3x1-1x3"},
    {"shortcut_activation": False, "input_size": (12, 15)},
    {"stem_padding": 1, "num_classes": 3},
]


@pytest.fixture(autouse=True)
def one_thread():
    """Some ten thousand tiny forward passes: threads would only wait for each other, and change no bit."""
    before = threads()
    use_threads(1)
    yield
    use_threads(before)


class Case:
    """A network with a random state, a batch, and its gradients by backward."""

    def __init__(self, batch: int, **options):
        self.spec = SqueezeNextSpec(**{"input_size": (12, 12), **options})
        generator = np.random.default_rng([SEED, batch])
        self.state = random_state(self.spec, generator)
        self.x = generator.normal(size=(batch, 3, *self.spec.input_size))
        self.labels = generator.integers(0, self.spec.num_classes, batch)
        self.net = minisqx.Network(self.spec, seed=3, dtype="float64")
        self.net.load_state_dict(self.state)
        dlogits = minisqx.cross_entropy(self._forward(), self.labels)[1]
        dx = self.net.backward(dlogits, input_gradient=True)
        self.gradients = {**{name: view.copy() for name, view in self.net.gradients().items()}, "input": dx}
        self.largest = max(np.abs(gradient).max() for gradient in self.gradients.values())

    def _forward(self) -> np.ndarray:
        self.net.dropout_step = STEP - 1  # forward counts before it draws
        return self.net.forward(self.x, training=True)

    def loss(self) -> float:
        """The network's own loss; it sees changes of `x` and of the network's parameters."""
        return minisqx.cross_entropy(self._forward(), self.labels)[0]

    def naive_loss(self, name: str, array: np.ndarray) -> complex:
        """The naive network's loss with one tensor exchanged."""
        network = NaiveNetwork(self.spec, {**self.state, name: array}, dropout_mask(self.spec, 3, STEP, len(self.x)))
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
        arrays = {**self.net.parameters(), "input": self.x}
        assert set(arrays) == set(self.gradients)
        for name, gradient in self.gradients.items():
            indices = sample(gradient.size, most, seed=len(name))
            numeric = central_differences(self.loss, arrays[name], indices)
            if self.is_zero(name):
                assert np.abs(gradient).max() <= ZERO * self.largest, name
                assert np.abs(numeric).max() <= CENTRAL * self.largest, name
            else:
                assert relative_difference(numeric, gradient.ravel()[indices], np.abs(gradient).max()) <= CENTRAL, name


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


@pytest.mark.parametrize("batch, options", list(enumerate(OTHER_OPTIONS, start=1)))
def test_gradients_are_central_differences_with_other_options(batch, options):
    Case(batch, width=0.125, **options).check_central_differences(most=2)


def test_gradients_are_central_differences_at_full_size():
    Case(3, width=0.2, input_size=(32, 32)).check_central_differences(most=12)


@pytest.mark.parametrize(
    "batch, options", [(3, {"width": 0.125}), (5, {"width": 0.2, "blocks": (1, 2, 2, 1)}), *enumerate(OTHER_OPTIONS, start=1)]
)
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
