"""Starting from the weights of another network: `--init`."""

from collections.abc import Iterator

import numpy as np

from minisqx.data.classes import listed
from minisqx.errors import OptionError
from minisqx.inference.model import Model, load
from minisqx.network import Network

__all__ = ["Model", "load", "take_weights"]


def take_weights(network: Network, model: Model) -> Iterator[str]:
    """Copies the model's parameters and running statistics that fit by name and shape into the network; yields lines about it.

    A layer is taken whole or not at all. Raises OptionError, and changes nothing, if no layer fits.
    """
    views = network.parameters() | network.buffers()
    layers: dict[str, list[str]] = {}
    for name in views:
        layers.setdefault(name.rpartition(".")[0], []).append(name)

    def fits(name: str) -> bool:
        return name in model.state and np.shape(model.state[name]) == views[name].shape

    taken = [layer for layer, names in layers.items() if all(map(fits, names))]
    if not taken:
        raise OptionError(
            f"init {model.name!r}: no layer of {model.spec.name} fits {network.spec.name}: expected a network of the same family"
            " and width; give its options, such as --width"
        )
    for layer in taken:
        for name in layers[layer]:
            views[name][...] = model.state[name]
    line = f"init: {len(taken)} of {len(layers)} layers from {model.name!r} ({model.spec.name})"
    left = [layer for layer in layers if layer not in taken]
    yield f"{line}; new, since their shapes differ: {listed(left)}" if left else line
