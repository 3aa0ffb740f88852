"""What a network asks of a layer."""

from typing import Any, Protocol

import numpy as np


class Layer(Protocol):
    """One step of the forward pass and its backward.

    x and what `forward` returns are an `Activation`, and from the average pool on a contiguous array (N, features); `backward`
    takes and returns the matching `Gradient` or array. A network calls `forward` in the order of its units, then `backward` once
    in the reverse order: the second may overwrite what the first stored.
    """

    def forward(self, x: Any) -> Any:
        """The output for a training batch; remembers what `backward` needs."""

    def backward(self, gradient: Any) -> Any:
        """Fills the layer's parameter gradients from the gradient of its output; returns the gradient of its input."""

    def values(self) -> dict[str, np.ndarray]:
        """By name the output of every part, of the last forward pass and without anything deferred: (N, C, H, W) or (N, C)."""
