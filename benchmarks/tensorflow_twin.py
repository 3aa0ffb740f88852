"""A network in TensorFlow, built from its description, channels last: the peer in training and LiteRT's source.

Its variables hold a state of minisqx under its names; weights are (kH, kW, in, out) as TensorFlow has them.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

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

EPSILON, MOMENTUM = 1e-5, 0.1
ACTIVATIONS: dict[str | None, Callable] = {"elu": tf.nn.elu, "relu": tf.nn.relu, None: tf.identity}
TO_TENSORFLOW = {2: (1, 0), 4: (2, 3, 1, 0)}  # from (out, in) and (out, in, kH, kW), by the number of axes
TO_MINISQX = {2: (1, 0), 4: (3, 2, 0, 1)}


class TensorFlowTwin:
    """x float32 (N, H, W, 3) -> logits (N, classes)."""

    def __init__(self, spec: NetworkSpec, state: dict[str, np.ndarray]) -> None:
        self.units = spec.units
        self.values = {name: tf.Variable(_transposed(value, TO_TENSORFLOW)) for name, value in state.items()}
        running = ("running_mean", "running_var")
        self.parameters = {name: value for name, value in self.values.items() if not name.endswith(running)}

    def __call__(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        for unit in self.units:
            x = self._unit(x, unit, training)
        return x

    def _unit(self, x: tf.Tensor, unit: Unit, training: bool) -> tf.Tensor:
        match unit:
            case ConvolutionSpec():
                return self._block(x, unit, training)
            case BottleneckSpec():
                main = x
                for layer in unit.main:
                    main = self._block(main, layer, training)
                shortcut = x if unit.shortcut is None else self._block(x, unit.shortcut, training)
                return ACTIVATIONS[unit.activation](main + shortcut)
            case FireSpec():
                x = self._block(x, unit.squeeze, training)
                return tf.concat([self._block(x, unit.expand1, training), self._block(x, unit.expand3, training)], 3)
            case MaxPoolSpec():
                # SAME adds its one row and column behind the image, as rounding up does.
                whole = all((side - unit.kernel) % unit.stride == 0 for side in x.shape[1:3])
                return tf.nn.max_pool2d(x, unit.kernel, unit.stride, "VALID" if whole else "SAME")
            case DropoutSpec():
                return tf.nn.dropout(x, unit.probability) if training and unit.probability else x
            case AveragePoolSpec():
                return tf.reduce_mean(x, (1, 2))
            case LinearSpec():
                return tf.matmul(x, self.values[f"{unit.name}.weight"]) + self.values[f"{unit.name}.bias"]

    def _block(self, x: tf.Tensor, layer: ConvolutionSpec, training: bool) -> tf.Tensor:
        same = layer.stride == (1, 1) and all(2 * pad == side - 1 for pad, side in zip(layer.padding, layer.kernel))
        padding = "SAME" if same else [(0, 0), *((pad, pad) for pad in layer.padding), (0, 0)]
        if not same and layer.padding == (0, 0):
            padding = "VALID"
        x = tf.nn.conv2d(x, self.values[f"{layer.name}.weight"], layer.stride, padding)
        x = tf.nn.bias_add(x, self.values[f"{layer.name}.bias"])
        if layer.order == "conv-bn-act":
            x = self._norm(x, layer.name, training)
        x = ACTIVATIONS[layer.activation](x)
        return self._norm(x, layer.name, training) if layer.order == "conv-act-bn" else x

    def _norm(self, x: tf.Tensor, name: str, training: bool) -> tf.Tensor:
        gamma, beta, mean, var = (self.values[f"{name}.{part}"] for part in ("gamma", "beta", "running_mean", "running_var"))
        if not training:
            scale = gamma * tf.math.rsqrt(var + EPSILON)
            return x * scale + (beta - mean * scale)
        x, batch_mean, batch_var = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=EPSILON)
        mean.assign_sub(MOMENTUM * (mean - batch_mean))
        var.assign_sub(MOMENTUM * (var - batch_var))
        return x


def to_minisqx(value: np.ndarray) -> np.ndarray:
    """A parameter or its gradient in minisqx's order of axes."""
    return _transposed(value, TO_MINISQX)


def _transposed(value: np.ndarray, axes: dict[int, tuple[int, ...]]) -> np.ndarray:
    return np.ascontiguousarray(value.transpose(axes[value.ndim])) if value.ndim in axes else value
