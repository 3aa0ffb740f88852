"""A whole network in plain NumPy, forward only: put together from `naive.py`, from a `NetworkSpec` and a state dict.

Complex numbers go through it, so its derivative by any parameter or pixel is known to machine precision without a line of
backprop.
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

ACTIVATIONS = {"elu": naive.elu, "relu": naive.relu, None: lambda z: z}


def random_state(spec: NetworkSpec, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Parameters and running statistics for a test: gammas of either sign and none 1, no bias, beta or mean 0, no variance 1.

    Values lie on a grid of 1/1024, so float32 holds them exactly and they compress well.
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


class NaiveNetwork:
    """`forward` and what it leaves behind.

    state: arrays under minisqx's names. mask: dropout's (N, C, H, W) of zeros and ones for training; None where nothing is
    dropped.
    activations: name -> output of every basic block, bottleneck, fire module and pool, and `logits`, of the last forward.
    running: the running statistics after the last training forward; `state` is not changed.
    """

    def __init__(self, spec: NetworkSpec, state: Mapping[str, np.ndarray], mask: np.ndarray | None = None) -> None:
        self.spec, self.state, self.mask = spec, state, mask
        self.activations: dict[str, np.ndarray] = {}
        self.running: dict[str, np.ndarray] = {}

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        """x (N, 3, H, W) -> logits (N, classes)."""
        self.activations, self.running = {}, {}
        for unit in self.spec.units:
            x = self._unit(unit, x, training)
        return self._keep("logits", x)

    def _unit(self, unit: Unit, x: np.ndarray, training: bool) -> np.ndarray:
        match unit:
            case ConvolutionSpec():
                return self._basic_block(unit, x, training)
            case BottleneckSpec():
                shortcut = x if unit.shortcut is None else self._basic_block(unit.shortcut, x, training)
                for layer in unit.main:
                    x = self._basic_block(layer, x, training)
                return self._keep(unit.name, ACTIVATIONS[unit.activation](x + shortcut))
            case FireSpec():
                squeezed = self._basic_block(unit.squeeze, x, training)
                expanded = [self._basic_block(layer, squeezed, training) for layer in (unit.expand1, unit.expand3)]
                return self._keep(unit.name, np.concatenate(expanded, axis=1))
            case MaxPoolSpec():
                return self._keep(unit.name, naive.max_pool(x, unit.kernel, unit.stride))
            case DropoutSpec():
                return naive.dropout(x, self.mask, unit.probability) if training and self.mask is not None else x
            case AveragePoolSpec():
                return self._keep(unit.name, naive.average_pool(x))
            case LinearSpec():
                return naive.linear(x, self.state[f"{unit.name}.weight"], self.state[f"{unit.name}.bias"])

    def _keep(self, name: str, value: np.ndarray) -> np.ndarray:
        self.activations[name] = value
        return value

    def _basic_block(self, layer: ConvolutionSpec, x: np.ndarray, training: bool) -> np.ndarray:
        weight, bias = self.state[f"{layer.name}.weight"], self.state[f"{layer.name}.bias"]
        z = naive.convolution(x, weight, bias, layer.stride[0], layer.padding)
        activation = ACTIVATIONS[layer.activation]
        if layer.order == "conv-act":
            out = activation(z)
        elif layer.order == "conv-act-bn":
            out = self._batch_norm(layer.name, activation(z), training)
        else:
            out = activation(self._batch_norm(layer.name, z, training))
        return self._keep(layer.name, out)

    def _batch_norm(self, name: str, x: np.ndarray, training: bool) -> np.ndarray:
        gamma, beta, mean, variance = (self.state[f"{name}.{part}"] for part in ("gamma", "beta", "running_mean", "running_var"))
        if training:
            batch_mean, batch_variance = naive.batch_norm_statistics(x)
            running = naive.batch_norm_running(mean, variance, batch_mean, batch_variance, x.size // x.shape[1])
            self.running[f"{name}.running_mean"], self.running[f"{name}.running_var"] = running
            mean, variance = batch_mean, batch_variance
        return naive.batch_norm(x, gamma, beta, mean, variance)
