"""A whole network in plain NumPy, forward and backward: the first text to read about backpropagation here, and the tests' oracle.

It computes the same as minisqx in the way of a textbook: one operation at a time, every tensor stored as (N, C, H, W), nothing
fused and nothing deferred. The operations are in `naive.py`; docs/backprop.md derives their gradients, and shows how the kernels
compute the same in another order. docs/reading.md says what to read next.

Each unit has two methods, one above the other. The forward method saves what its backward needs; the backward method takes
dL/d(output), writes the gradients of the unit's parameters, and returns dL/d(input). `NaiveNetwork.backward` calls them from the
last unit to the first: that is backpropagation.

As an oracle it is verified in two ways: its activations and gradients are those of PyTorch (`tests/test_naive.py`), and since
`forward` takes complex numbers, its derivative by any parameter or pixel is known up to rounding without backpropagation
(`complex_step` in `tests/gradient_check.py`).
"""

from collections.abc import Mapping

import numpy as np

from minisqx.spec import (
    AveragePoolSpec,
    BottleneckSpec,
    ConvolutionSpec,
    DropoutSpec,
    FireSpec,
    LinearSpec,
    MaxPoolSpec,
    NetworkSpec,
    Unit,
)
from tests import naive

# By the name of an activation f: f itself, and its derivative f'(z).
ACTIVATIONS = {
    "elu": (naive.elu, naive.elu_gradient),
    "relu": (naive.relu, naive.relu_gradient),
    None: (lambda z: z, np.ones_like),
}


class NaiveNetwork:
    """One network, on which `forward` and then `backward` may be called.

    state: parameters and running statistics, arrays under minisqx's names. mask: dropout's (N, C, H, W) of zeros and ones for
    training; None where nothing is dropped.

    activations: name -> output of every basic block, bottleneck, fire module and pool, and `logits`, of the last forward.
    running: the running statistics after the last training forward; `state` is not changed.
    gradients: name -> dL/d(parameter) after the last backward.
    """

    def __init__(self, spec: NetworkSpec, state: Mapping[str, np.ndarray], mask: np.ndarray | None = None) -> None:
        self.spec, self.state, self.mask = spec, state, mask
        self.activations: dict[str, np.ndarray] = {}
        self.running: dict[str, np.ndarray] = {}
        self.gradients: dict[str, np.ndarray] = {}
        self._saved: dict[str, tuple[np.ndarray, ...]] = {}

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        """x (N, 3, H, W) -> logits (N, classes)."""
        self.activations, self.running, self._saved = {}, {}, {}
        for unit in self.spec.units:
            x = self._forward(unit, x, training)
        self.activations["logits"] = x
        return x

    def backward(self, dlogits: np.ndarray) -> np.ndarray:
        """dlogits (N, classes), after a training forward -> dx (N, 3, H, W); fills `gradients`."""
        self.gradients = {}
        gradient = dlogits
        for unit in reversed(self.spec.units):
            gradient = self._backward(unit, gradient)
        return gradient

    def _forward(self, unit: Unit, x: np.ndarray, training: bool) -> np.ndarray:
        match unit:
            case ConvolutionSpec():
                return self._basic_block(unit, x, training)
            case BottleneckSpec():
                return self._bottleneck(unit, x, training)
            case FireSpec():
                return self._fire(unit, x, training)
            case MaxPoolSpec():
                return self._max_pool(unit, x)
            case DropoutSpec():
                return self._dropout(unit, x, training)
            case AveragePoolSpec():
                return self._average_pool(unit, x)
            case LinearSpec():
                return self._linear(unit, x)

    def _backward(self, unit: Unit, dy: np.ndarray) -> np.ndarray:
        match unit:
            case ConvolutionSpec():
                return self._basic_block_backward(unit, dy)
            case BottleneckSpec():
                return self._bottleneck_backward(unit, dy)
            case FireSpec():
                return self._fire_backward(unit, dy)
            case MaxPoolSpec():
                return self._max_pool_backward(unit, dy)
            case DropoutSpec():
                return self._dropout_backward(unit, dy)
            case AveragePoolSpec():
                return self._average_pool_backward(unit, dy)
            case LinearSpec():
                return self._linear_backward(unit, dy)

    # The basic block: a convolution, an activation f and a batch norm, in one of three orders.

    def _basic_block(self, layer: ConvolutionSpec, x: np.ndarray, training: bool) -> np.ndarray:
        weight, bias = self.state[f"{layer.name}.weight"], self.state[f"{layer.name}.bias"]
        f, _ = ACTIVATIONS[layer.activation]
        z = naive.convolution(x, weight, bias, layer.stride[0], layer.padding)
        match layer.order:
            case "conv-act":
                between = z
                y = f(z)
            case "conv-act-bn":
                between = f(z)
                y = self._batch_norm(layer.name, between, training)
            case "conv-bn-act":
                between = self._batch_norm(layer.name, z, training)
                y = f(between)
        self._saved[layer.name] = x, z, between
        self.activations[layer.name] = y
        return y

    def _basic_block_backward(self, layer: ConvolutionSpec, dy: np.ndarray) -> np.ndarray:
        name = layer.name
        x, z, between = self._saved[name]
        _, slope = ACTIVATIONS[layer.activation]
        # From the output y back to z = convolution(x): the steps of forward in reverse.
        match layer.order:
            case "conv-act":
                dz = dy * slope(z)
            case "conv-act-bn":
                de = self._batch_norm_backward(name, dy, between)
                dz = de * slope(z)
            case "conv-bn-act":
                dn = dy * slope(between)
                dz = self._batch_norm_backward(name, dn, z)
        # From z to the parameters, and to the input.
        weight, stride, padding = self.state[f"{name}.weight"], layer.stride[0], layer.padding
        self.gradients[f"{name}.weight"] = naive.convolution_weight_gradient(dz, x, weight.shape, stride, padding)
        self.gradients[f"{name}.bias"] = naive.convolution_bias_gradient(dz)
        return naive.convolution_input_gradient(dz, weight, x.shape, stride, padding)

    def _batch_norm(self, name: str, x: np.ndarray, training: bool) -> np.ndarray:
        gamma, beta, mean, variance = (self.state[f"{name}.{part}"] for part in ("gamma", "beta", "running_mean", "running_var"))
        if training:
            batch_mean, batch_variance = naive.batch_norm_statistics(x)
            running = naive.batch_norm_running(mean, variance, batch_mean, batch_variance, x.size // x.shape[1])
            self.running[f"{name}.running_mean"], self.running[f"{name}.running_var"] = running
            mean, variance = batch_mean, batch_variance
        return naive.batch_norm(x, gamma, beta, mean, variance)

    def _batch_norm_backward(self, name: str, dy: np.ndarray, x: np.ndarray) -> np.ndarray:
        dx, dgamma, dbeta = naive.batch_norm_training_backward(dy, x, self.state[f"{name}.gamma"])
        self.gradients[f"{name}.gamma"], self.gradients[f"{name}.beta"] = dgamma, dbeta
        return dx

    # The bottleneck: five basic blocks in a row, and a shortcut beside them; r = f(main + shortcut).

    def _bottleneck(self, unit: BottleneckSpec, x: np.ndarray, training: bool) -> np.ndarray:
        f, _ = ACTIVATIONS[unit.activation]
        main = x
        for layer in unit.main:
            main = self._basic_block(layer, main, training)
        shortcut = x if unit.shortcut is None else self._basic_block(unit.shortcut, x, training)
        s = main + shortcut
        self._saved[unit.name] = (s,)
        self.activations[unit.name] = f(s)
        return f(s)

    def _bottleneck_backward(self, unit: BottleneckSpec, dr: np.ndarray) -> np.ndarray:
        _, slope = ACTIVATIONS[unit.activation]
        (s,) = self._saved[unit.name]
        # A sum hands its gradient to both of its terms; what comes back along both paths to x is added.
        dmain = dshortcut = dr * slope(s)
        for layer in reversed(unit.main):
            dmain = self._basic_block_backward(layer, dmain)
        if unit.shortcut is not None:
            dshortcut = self._basic_block_backward(unit.shortcut, dshortcut)
        return dmain + dshortcut

    # SqueezeNet's fire module: one basic block, whose output two others read; their outputs stand side by side.

    def _fire(self, unit: FireSpec, x: np.ndarray, training: bool) -> np.ndarray:
        squeezed = self._basic_block(unit.squeeze, x, training)
        expanded = [self._basic_block(layer, squeezed, training) for layer in (unit.expand1, unit.expand3)]
        self.activations[unit.name] = np.concatenate(expanded, axis=1)
        return self.activations[unit.name]

    def _fire_backward(self, unit: FireSpec, dy: np.ndarray) -> np.ndarray:
        dy1, dy3 = np.split(dy, [unit.expand1.out_channels], axis=1)
        dsqueezed = self._basic_block_backward(unit.expand1, dy1) + self._basic_block_backward(unit.expand3, dy3)
        return self._basic_block_backward(unit.squeeze, dsqueezed)

    # One operation each.

    def _max_pool(self, unit: MaxPoolSpec, x: np.ndarray) -> np.ndarray:
        self._saved[unit.name] = (x,)
        self.activations[unit.name] = naive.max_pool(x, unit.kernel, unit.stride)
        return self.activations[unit.name]

    def _max_pool_backward(self, unit: MaxPoolSpec, dy: np.ndarray) -> np.ndarray:
        (x,) = self._saved[unit.name]
        return naive.max_pool_backward(dy, x, unit.kernel, unit.stride)

    def _dropout(self, unit: DropoutSpec, x: np.ndarray, training: bool) -> np.ndarray:
        return naive.dropout(x, self.mask, unit.probability) if training and self.mask is not None else x

    def _dropout_backward(self, unit: DropoutSpec, dy: np.ndarray) -> np.ndarray:
        return dy if self.mask is None else naive.dropout(dy, self.mask, unit.probability)

    def _average_pool(self, unit: AveragePoolSpec, x: np.ndarray) -> np.ndarray:
        self._saved[unit.name] = (x,)
        self.activations[unit.name] = naive.average_pool(x)
        return self.activations[unit.name]

    def _average_pool_backward(self, unit: AveragePoolSpec, dy: np.ndarray) -> np.ndarray:
        (x,) = self._saved[unit.name]
        return naive.average_pool_backward(dy, x.shape)

    def _linear(self, unit: LinearSpec, x: np.ndarray) -> np.ndarray:
        self._saved[unit.name] = (x,)
        return naive.linear(x, self.state[f"{unit.name}.weight"], self.state[f"{unit.name}.bias"])

    def _linear_backward(self, unit: LinearSpec, dy: np.ndarray) -> np.ndarray:
        (x,) = self._saved[unit.name]
        dx, dweight, dbias = naive.linear_backward(dy, x, self.state[f"{unit.name}.weight"])
        self.gradients[f"{unit.name}.weight"], self.gradients[f"{unit.name}.bias"] = dweight, dbias
        return dx
