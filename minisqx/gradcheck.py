"""Hand-written gradients against finite differences of the forward pass, which know nothing of backpropagation.

The derivative of the loss by one parameter or pixel p is measured as (loss(p + h) - loss(p - h)) / 2h, in float64, with h = 5e-6
for values of order 1. Why this step: rounding gives an error of about 1e-15 / h. The smooth truncation error falls with h
squared, but ELU is only once continuously differentiable: where a step carries one pixel's value across zero, the second
derivative jumps, and the error falls with h alone. A formula of higher order does not help against that jump. On networks of this
family, against exact derivatives, the largest error over a tensor's largest gradient was 1e-4 at h = 1e-3, 3e-6 at 3e-5, 4e-9 to
2e-8 at 1e-5, 5e-9 to 6e-8 at 3e-6 and 1e-7 at 1e-6.

ReLU and max pooling have kinks: where a step carries a value across one, the quotient is no derivative. So networks with either
are measured with a much smaller step, which meets few kinks, and with the precision that rounding leaves. A kink is seen in the
forward pass alone: the slopes (loss(p + h) - loss(p)) / h and (loss(p) - loss(p - h)) / h differ, and half of that is the error
that the kink makes. An element whose difference that error explains is counted, and not measured.

Sampling: every element of a tensor of up to `most` elements; of a larger one a random sample of `most`, from a fixed seed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from minisqx.errors import OptionError
from minisqx.network import Network
from minisqx.spec import NetworkSpec
from minisqx.training.optim import cross_entropy

STEP = 5e-6
TOLERANCE = 1e-6  # the error of the differences is up to 2e-7, or 5e-7 in the widest networks
# Rounding alone is up to 1e-5 with this step.
KINK_STEP = 1e-8
KINK_TOLERANCE = 1e-4
# Activations without a kink. One that is missing here is measured as if it had one, to less precision.
SMOOTH = (None, "elu")
ELEMENTS = 4  # of each tensor
BATCH = 3
# Of 40 seeds the one with which the smallest of all tensors' gradients is largest, against its network's largest (0.8 %).
# With others it is down to 0.003 %, where a layer of one channel meets only one side of ELU.
SEED = 2
# A difference is relative to the tensor's largest gradient, or to this share of the network's largest if that is more: rounding
# hides what is smaller. This is how zeros are measured, too: the gradient of a bias straight before a batch norm.
LEAST_SHARE = 5e-3
INPUT = "input"


def relative_differences(numeric: np.ndarray, analytic: np.ndarray, scale: float) -> np.ndarray:
    """Absolute differences over `scale`, element by element; infinity where either is no finite number."""
    differences = np.abs(np.asarray(numeric) - np.asarray(analytic)) / scale
    return np.where(np.isfinite(differences), differences, np.inf)


def relative_difference(numeric: np.ndarray, analytic: np.ndarray, scale: float | None = None) -> float:
    """The largest difference over `scale`, by default the largest of `analytic`."""
    return float(relative_differences(numeric, analytic, np.abs(analytic).max() if scale is None else scale).max())


def sample(size: int, most: int, seed: int = 0) -> np.ndarray:
    """Flat indices of a tensor of `size` elements, by the sampling rule above."""
    if size <= most:
        return np.arange(size)
    return np.sort(np.random.default_rng([seed, size]).choice(size, most, replace=False))


def central_differences(function: Callable[[], float], array: np.ndarray, indices: np.ndarray, step: float = STEP) -> np.ndarray:
    """Derivative of `function()`, which reads `array`, by the elements `indices` of the flattened array. Puts the array back."""
    around = [_around(function, array, index, step) for index in indices]
    return np.array([(after - before) / width for after, before, width in around])


def kink_errors(function: Callable[[], float], array: np.ndarray, indices: np.ndarray, step: float) -> np.ndarray:
    """Half of the difference between the slopes on both sides of each element: the error of its central difference if it lies at
    a kink, and next to nothing elsewhere.
    """
    middle = function()
    around = [_around(function, array, index, step) for index in indices]
    return np.array([abs(after - 2 * middle + before) / width for after, before, width in around])


def _around(function: Callable[[], float], array: np.ndarray, index: int, step: float) -> tuple[float, float, float]:
    """The function with one element a step larger, and a step smaller; and the distance between the two."""
    flat = array.reshape(-1)
    if not np.shares_memory(flat, array):
        raise ValueError("the array must be contiguous, so that the function sees its elements change")
    value = flat[index]
    above, below = value + step, value - step
    flat[index] = above
    after = function()
    flat[index] = below
    before = function()
    flat[index] = value
    return after, before, above - below


def random_state(spec: NetworkSpec, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Parameters and running statistics for a check: gammas of either sign and none 1, no bias, beta or mean 0, no variance 1.

    So no factor is 1 and no term 0 that a wrong formula could leave out unseen. Values lie on a grid of 1/1024: float32 holds
    them exactly, and they compress well.
    """
    state = {}
    for name, shape in {**spec.parameter_shapes, **spec.buffer_shapes}.items():
        values = generator.uniform(-1, 1, shape)
        if name.endswith(".weight"):
            values *= np.sqrt(6 / np.prod(shape[1:]))
        elif name.endswith(".gamma"):
            values = np.sign(values) * (0.75 + 0.5 * np.abs(values))
        elif name.endswith(".running_var"):
            values = 1 + 0.5 * values
        else:
            values *= 0.3
        state[name] = np.round(values * 1024) / 1024
    return state


def has_kinks(spec: NetworkSpec) -> bool:
    """Whether there may be places where the network has no derivative."""
    steep = any(layer.activation not in SMOOTH for layer in spec.convolutions)
    return steep or any(unit.has_kinks for unit in spec.units)


@dataclass(frozen=True)
class LayerCheck:
    """What was measured of one layer: `elements` of its tensors, of which `kinks` had no derivative; the largest relative
    difference of the others, infinity if there were none.
    """

    name: str
    elements: int
    kinks: int
    difference: float

    def agrees(self, tolerance: float) -> bool:
        return self.difference <= tolerance


class GradientCheck:
    """A float64 network with a random state, a random batch, and its gradients by `backward`.

    gradients: of every parameter by its name, and of the images as "input". step, tolerance: for networks of its kind.
    """

    dropout_step = 5  # dropout's mask depends on it: the same one at every forward pass
    seed = 3

    def __init__(self, spec: NetworkSpec, batch: int = BATCH):
        self.spec = spec
        self.has_kinks = has_kinks(spec)
        self.step, self.tolerance = (KINK_STEP, KINK_TOLERANCE) if self.has_kinks else (STEP, TOLERANCE)
        generator = np.random.default_rng([SEED, batch])
        self.state = random_state(spec, generator)
        self.x = generator.normal(size=(batch, 3, *spec.input_size))
        self.labels = generator.integers(0, spec.num_classes, batch)
        self.net = Network(spec, self.seed, dtype="float64")
        self.net.load_state_dict(self.state)
        _, dlogits = cross_entropy(self._forward(), self.labels)
        dx = self.net.backward(dlogits, input_gradient=True)
        assert dx is not None
        self.gradients = {INPUT: dx, **{name: view.copy() for name, view in self.net.gradients().items()}}
        self.largest = max(float(np.abs(gradient).max()) for gradient in self.gradients.values())
        self._arrays = {INPUT: self.x, **self.net.parameters()}

    def _forward(self) -> np.ndarray:
        self.net.dropout_step = self.dropout_step - 1  # forward counts before it draws
        return self.net.forward(self.x, training=True)

    def loss(self) -> float:
        """The loss of the network as it is now: it sees changes of `x` and of the network's parameters."""
        return cross_entropy(self._forward(), self.labels)[0]

    def differences(self, name: str, most: int = ELEMENTS) -> np.ndarray:
        """By how much the gradient by `backward` is off, relative, for a sample of one tensor's elements; NaN at a kink."""
        gradient = self.gradients[name]
        scale = max(float(np.abs(gradient).max()), LEAST_SHARE * self.largest)
        indices = sample(gradient.size, most, seed=len(name))
        found = gradient.ravel()[indices]
        numeric = central_differences(self.loss, self._arrays[name], indices, self.step)
        differences = relative_differences(numeric, found, scale)
        if self.has_kinks:
            beyond = np.flatnonzero(differences > self.tolerance)
            explained = kink_errors(self.loss, self._arrays[name], indices[beyond], self.step) / scale
            differences[beyond[differences[beyond] - explained <= self.tolerance]] = np.nan
        return differences

    def layers(self, layer: str | None = None) -> Iterator[LayerCheck]:
        """Checks the images, and then one layer after the other; or only `layer`, or the layers of a block of this name."""
        tensors: dict[str, list[str]] = {}
        for name in self.gradients:
            tensors.setdefault(name.rpartition(".")[0] or name, []).append(name)
        chosen = {name: of for name, of in tensors.items() if layer is None or f"{name}.".startswith(f"{layer}.")}
        if not chosen:
            raise OptionError(f"layer {layer!r}: expected one of {', '.join(tensors)}, or a block of them, such as stage1.block1")
        return (self._check(name, of) for name, of in chosen.items())

    def _check(self, name: str, tensors: list[str]) -> LayerCheck:
        differences = np.concatenate([self.differences(tensor) for tensor in tensors])
        measured = differences[~np.isnan(differences)]
        largest = float(measured.max()) if measured.size else np.inf
        return LayerCheck(name, differences.size, differences.size - measured.size, largest)
