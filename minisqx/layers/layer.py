"""The interface of a layer."""

from typing import Any, Protocol

import numpy as np


class Layer(Protocol):
    """One step of the training forward pass, and its backward.

    `forward` takes and returns an `Activation`, after the average pool a contiguous array (N, features); `backward` takes and
    returns the corresponding `Gradient` or array. A network calls `forward` on all layers in order, then `backward` once in
    reverse order; `backward` may overwrite what `forward` stored.

    Both run their tasks through the workspace (`BoundCall`, `Workspace.call`). A network collects the calls of all layers and
    runs them in a row, so neither may read or write the numbers of a tensor itself.
    """

    def forward(self, x: Any) -> Any:
        """Returns the output for a training batch; stores what `backward` needs."""

    def backward(self, gradient: Any) -> Any:
        """Takes the gradient of the output; writes the parameter gradients, and returns the gradient of the input."""

    def values(self) -> dict[str, np.ndarray]:
        """Name -> output of the last forward pass, (N, C, H, W) or (N, C), for the layer and its blocks; nothing deferred."""


class ParameterFreeLayer(Layer, Protocol):
    """A layer without parameters, which is made of its description and the network's workspace alone."""

    def __init__(self, spec: Any, workspace: Any) -> None: ...

    @staticmethod
    def kept_tensors(spec: Any) -> tuple[int, int]:
        """How many tensors it keeps for batches of one shape: (of its input's shape, of its output's)."""
