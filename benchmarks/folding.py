"""Batch norm folded into convolutions: the network that an engine is given at its best.

Behind a convolution, batch norm is a scale and a shift of its output: both go into its own weights and bias, which every engine
does itself. Behind an activation they go into the weights and biases of the layers that read it, if none of them pads: padding
adds zeros to what batch norm gives, which are no zeros before it. A sum keeps its batch norms, too. Global average pooling and
dropout pass a scale and a shift on.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from minisqx.spec import (
    WITHOUT_NORM,
    AveragePoolSpec,
    BottleneckSpec,
    ConvolutionSpec,
    DropoutSpec,
    FireSpec,
    LinearSpec,
    NetworkSpec,
    Size,
    Unit,
)

EPSILON = 1e-5


@dataclass(frozen=True)
class Folded:
    """What a builder of graphs reads of a `NetworkSpec`."""

    name: str
    units: tuple[Unit, ...]
    input_size: Size
    num_classes: int


def fold(spec: NetworkSpec, state: dict[str, np.ndarray]) -> tuple[Folded, dict[str, np.ndarray]]:
    """The network with every batch norm folded that can be, and its state, float32."""
    state = {name: value.astype(np.float64) for name, value in state.items()}
    readers = _readers(spec)
    folded = set()
    for layer in spec.convolutions:
        if layer.order == "conv-bn-act":
            scale, shift = _take_norm(state, layer.name)
            state[f"{layer.name}.weight"] *= scale[:, None, None, None]
            state[f"{layer.name}.bias"] = state[f"{layer.name}.bias"] * scale + shift
            folded.add(layer.name)
        elif layer.has_norm and _all_can_take(readers.get(layer.name, [])):
            scale, shift = _take_norm(state, layer.name)
            for reader in readers[layer.name]:
                weight = state[f"{reader.name}.weight"]
                by_channel = weight.reshape(*weight.shape[:2], -1).sum(2)
                state[f"{reader.name}.bias"] += by_channel @ shift
                weight *= scale.reshape(1, -1, *(1,) * (weight.ndim - 2))
            folded.add(layer.name)
    units = tuple(_without_norm(unit, folded) for unit in spec.units)
    return Folded(spec.name, units, spec.input_size, spec.num_classes), {k: v.astype(np.float32) for k, v in state.items()}


def _take_norm(state: dict[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift of a layer's batch norm, which leaves the state."""
    gamma, beta, mean, var = (state.pop(f"{name}.{part}") for part in ("gamma", "beta", "running_mean", "running_var"))
    scale = gamma / np.sqrt(var + EPSILON)
    return scale, beta - mean * scale


def _readers(spec: NetworkSpec) -> dict[str, list[ConvolutionSpec | LinearSpec]]:
    """The layers that read each convolution's output, where nothing else reads it."""
    found, units = {}, [unit for unit in spec.units if not isinstance(unit, (DropoutSpec, AveragePoolSpec))]
    for unit, following in pairwise(units):
        if isinstance(unit, ConvolutionSpec):
            found[unit.name] = _first_layers(following)
        if isinstance(unit, BottleneckSpec):
            found |= {layer.name: [after] for layer, after in pairwise(unit.main)}
    return found


def _first_layers(unit: Unit) -> list[ConvolutionSpec | LinearSpec]:
    match unit:
        case ConvolutionSpec() | LinearSpec():
            return [unit]
        case BottleneckSpec() if unit.shortcut is not None:
            return [unit.main[0], unit.shortcut]
        case FireSpec():
            return [unit.squeeze]
    return []


def _all_can_take(readers: list[ConvolutionSpec | LinearSpec]) -> bool:
    return bool(readers) and all(isinstance(one, LinearSpec) or one.padding == (0, 0) for one in readers)


def _without_norm(unit: Unit, folded: set[str]) -> Unit:
    def layer(one: ConvolutionSpec | None) -> ConvolutionSpec | None:
        return replace(one, order=WITHOUT_NORM) if one is not None and one.name in folded else one

    match unit:
        case ConvolutionSpec():
            return layer(unit)
        case BottleneckSpec():
            return replace(unit, main=tuple(map(layer, unit.main)), shortcut=layer(unit.shortcut))
        case FireSpec():
            return replace(unit, squeeze=layer(unit.squeeze), expand1=layer(unit.expand1), expand3=layer(unit.expand3))
    return unit
