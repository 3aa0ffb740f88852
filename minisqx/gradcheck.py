"""Compares the hand-written gradients with finite differences of the loss, which need no backward pass.

The derivative of the loss by one parameter or pixel p is measured as (loss(p + h) - loss(p - h)) / 2h, in float64, with h = 5e-6
for values of order 1. Rounding gives an error of about 1e-15 / h. The truncation error of a smooth function falls with the square
of h, but ELU is only once continuously differentiable: where a step moves a value across zero, the second derivative jumps, and
the error falls only linearly, which no formula of higher order can improve. On networks of this family, the largest error against
exact derivatives, relative to the tensor's largest gradient, was 1e-4 at h = 1e-3, 3e-6 at 3e-5, 4e-9 to 2e-8 at 1e-5, 5e-9 to
6e-8 at 3e-6 and 1e-7 at 1e-6.

ReLU and max pooling have kinks: where a step moves a value across one, the quotient is not a derivative. So networks with either
are measured with a much smaller step, which crosses few kinks, and a larger tolerance for rounding. A kink can be detected in the
forward pass: the slopes (loss(p + h) - loss(p)) / h and (loss(p) - loss(p - h)) / h differ, and half of that difference is the
error that the kink causes. Elements whose error is explained by a kink are counted and otherwise ignored.

Of a tensor with more than `max_elements` elements, a random sample is measured, from a fixed seed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from minisqx.errors import OptionError
from minisqx.network import Network
from minisqx.spec import NetworkSpec
from minisqx.training.optim import cross_entropy

STEP = 5e-6
TOLERANCE = 1e-6  # the finite differences have an error of up to 2e-7, in the widest networks 5e-7
# With this step, rounding alone gives errors up to 1e-5.
KINK_STEP = 1e-8
KINK_TOLERANCE = 1e-4
# Activations without a kink. Others are assumed to have one, and measured less precisely.
SMOOTH = (None, "elu")
ELEMENTS = 4  # measured per tensor
BATCH = 3
# Chosen among 40 seeds because its smallest gradient is the largest, 0.8 % of the network's largest one. For other seeds it is as
# little as 0.003 %, where a layer with one channel uses only one side of ELU.
SEED = 2
# Differences are relative to the tensor's largest gradient, but at least to this share of the network's largest one, since
# rounding hides smaller gradients. It also covers gradients of zero: that of a bias directly before a batch norm.
MIN_SHARE = 5e-3
INPUT = "input"


def relative_differences(numeric: np.ndarray, analytic: np.ndarray, scale: float) -> np.ndarray:
    """Absolute differences divided by `scale`, element by element; infinity where either value is not finite."""
    differences = np.abs(np.asarray(numeric) - np.asarray(analytic)) / scale
    return np.where(np.isfinite(differences), differences, np.inf)


def relative_difference(numeric: np.ndarray, analytic: np.ndarray, scale: float | None = None) -> float:
    """The largest absolute difference divided by `scale`, by default the largest absolute value of `analytic`."""
    return float(relative_differences(numeric, analytic, np.abs(analytic).max() if scale is None else scale).max())


def sample(size: int, max_elements: int, seed: int = 0) -> np.ndarray:
    """Flat indices of the elements to measure of a tensor with `size` elements, in increasing order."""
    if size <= max_elements:
        return np.arange(size)
    return np.sort(np.random.default_rng([seed, size]).choice(size, max_elements, replace=False))


def central_differences(function: Callable[[], float], array: np.ndarray, indices: np.ndarray, step: float = STEP) -> np.ndarray:
    """The derivatives of `function()`, which reads `array`, by the elements `indices` of the flattened array.

    The array is changed during the calls and restored.
    """
    around = [_around(function, array, index, step) for index in indices]
    return np.array([(after - before) / width for after, before, width in around])


def kink_errors(function: Callable[[], float], array: np.ndarray, indices: np.ndarray, step: float) -> np.ndarray:
    """Half the difference of the one-sided slopes at each element: the error of its central difference at a kink, else 0."""
    middle = function()
    around = [_around(function, array, index, step) for index in indices]
    return np.array([abs(after - 2 * middle + before) / width for after, before, width in around])


def _around(function: Callable[[], float], array: np.ndarray, index: int, step: float) -> tuple[float, float, float]:
    """The function with one element increased, and decreased, by a step; and the distance between the two values."""
    flat = array.reshape(-1)
    if not np.shares_memory(flat, array):
        raise ValueError("array is not contiguous: expected one whose flat view changes the array itself")
    value = flat[index]
    above, below = value + step, value - step
    flat[index] = above
    after = function()
    flat[index] = below
    before = function()
    flat[index] = value
    return after, before, above - below


def random_state(spec: NetworkSpec, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Random parameters and running statistics: gammas of either sign, and no gamma or variance is 1, no bias, beta or mean 0.

    A wrong formula that omits a factor or a term therefore gives other results. Values are multiples of 1/1024, which float32
    represents exactly and which compress well.
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
    """Whether the loss may have kinks, where it has no derivative."""
    kinked = any(layer.activation not in SMOOTH for layer in spec.convolutions)
    return kinked or any(unit.has_kinks for unit in spec.units)


@dataclass(frozen=True)
class LayerCheck:
    """The result for one layer.

    elements: measured elements of its tensors. kinks: those at a kink, which are ignored. difference: the largest relative
    difference of the others; infinity if there are none.
    """

    name: str
    elements: int
    kinks: int
    difference: float

    def agrees(self, tolerance: float) -> bool:
        return self.difference <= tolerance


class GradientCheck:
    """A float64 network with random parameters, a random batch, and the gradients computed by `backward`.

    gradients: name -> gradient of each parameter, and "input" for the images. step, tolerance: depend on `has_kinks`.
    """

    dropout_step = 5  # fixed, so that every forward pass has the same dropout mask
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
        self.net.dropout_step = self.dropout_step - 1  # forward increments it first
        return self.net.forward(self.x, training=True)

    def loss(self) -> float:
        """The loss with the current values of `x` and the parameters."""
        return cross_entropy(self._forward(), self.labels)[0]

    def differences(self, name: str, max_elements: int = ELEMENTS) -> np.ndarray:
        """Relative differences between both gradients of a tensor, for a sample of its elements; NaN at kinks."""
        gradient = self.gradients[name]
        scale = max(float(np.abs(gradient).max()), MIN_SHARE * self.largest)
        indices = sample(gradient.size, max_elements, seed=len(name))
        found = gradient.ravel()[indices]
        numeric = central_differences(self.loss, self._arrays[name], indices, self.step)
        differences = relative_differences(numeric, found, scale)
        if self.has_kinks:
            beyond = np.flatnonzero(differences > self.tolerance)
            explained = kink_errors(self.loss, self._arrays[name], indices[beyond], self.step) / scale
            differences[beyond[differences[beyond] - explained <= self.tolerance]] = np.nan
        return differences

    def layers(self, layer: str | None = None) -> Iterator[LayerCheck]:
        """Checks the gradient of the images, then each layer's.

        layer: check only this layer, or the layers of this block. Raises OptionError for an unknown name.
        """
        tensors: dict[str, list[str]] = {}
        for name in self.gradients:
            tensors.setdefault(name.rpartition(".")[0] or name, []).append(name)
        chosen = {name: own for name, own in tensors.items() if layer is None or f"{name}.".startswith(f"{layer}.")}
        if not chosen:
            raise OptionError(f"layer {layer!r}: expected one of {', '.join(tensors)}, or a block, such as stage1.block1")
        return (self._check(name, own) for name, own in chosen.items())

    def _check(self, name: str, tensors: list[str]) -> LayerCheck:
        differences = np.concatenate([self.differences(tensor) for tensor in tensors])
        measured = differences[~np.isnan(differences)]
        largest = float(measured.max()) if measured.size else np.inf
        return LayerCheck(name, differences.size, differences.size - measured.size, largest)
