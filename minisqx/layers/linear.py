"""The fully connected layer, used as the classifier."""

import numpy as np

from minisqx.kernels import linear
from minisqx.layers.checks import check_array
from minisqx.layers.part import NetworkPart


class Linear(NetworkPart):
    """logits = features weight^T + bias.

    weight, dweight: (classes, features). bias, dbias: (classes,). `backward` writes dweight and dbias.
    """

    def __init__(self, name: str, weight, bias, dweight, dbias):
        self.name, self.weight, self.bias, self.dweight, self.dbias = name, weight, bias, dweight, dbias

    def forward(self, features: np.ndarray) -> np.ndarray:
        """features: (N, features). Returns the logits (N, classes)."""
        check_array(self, "forward", features, (None, self.weight.shape[1]), self.weight.dtype)
        self.features = features
        logits = self.logits = np.empty((len(features), len(self.bias)), features.dtype)
        linear.forward(logits, features, self.weight, self.bias)
        return logits

    def backward(self, dlogits: np.ndarray) -> np.ndarray:
        """dlogits: (N, classes). Returns dfeatures (N, features)."""
        check_array(self, "backward", dlogits, (len(self.features), len(self.bias)), self.weight.dtype)
        dfeatures = np.empty_like(self.features)
        linear.backward(dfeatures, self.dweight, self.dbias, dlogits, self.features, self.weight)
        return dfeatures

    def values(self) -> dict[str, np.ndarray]:
        """The logits (N, classes) of the last forward pass, by name."""
        return {self.name: self.logits}
