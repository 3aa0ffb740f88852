"""The fully connected layer, used as the classifier."""

import numpy as np

from minisqx.kernels import linear
from minisqx.kernels.compiler.tasks import Task
from minisqx.layers.checks import check_array
from minisqx.layers.part import NetworkPart
from minisqx.layers.workspace import BoundCall, PerLayout, Workspace

FORWARD, BACKWARD = Task(linear.forward), Task(linear.backward)


class Linear(NetworkPart):
    """logits = features weight^T + bias.

    weight, dweight: (classes, features). bias, dbias: (classes,). `backward` writes dweight and dbias.
    """

    def __init__(self, name: str, weight, bias, dweight, dbias, workspace: Workspace):
        self.name, self.weight, self.bias, self.dweight, self.dbias = name, weight, bias, dweight, dbias
        classes, features = weight.shape
        self.forward_call, self.backward_call = BoundCall(FORWARD, workspace), BoundCall(BACKWARD, workspace)
        self.sums = np.empty(classes * features + classes + features)
        # The logits, and the features' gradient, of a batch of N images.
        self.buffers_for = PerLayout(lambda images: tuple(np.empty((images, n), weight.dtype) for n in weight.shape))

    def forward(self, features: np.ndarray) -> np.ndarray:
        """features: (N, features). Returns the logits (N, classes)."""
        check_array(self, "forward", features, (None, self.weight.shape[1]), self.weight.dtype)
        self.features = features
        self.logits, self.dfeatures = self.buffers_for(len(features))
        self.forward_call(features, self.logits, arguments=lambda: (self.logits, features, self.weight, self.bias))
        return self.logits

    def backward(self, dlogits: np.ndarray) -> np.ndarray:
        """dlogits: (N, classes). Returns dfeatures (N, features)."""
        check_array(self, "backward", dlogits, (len(self.features), len(self.bias)), self.weight.dtype)
        arguments = (self.dfeatures, self.dweight, self.dbias, dlogits, self.features, self.weight, self.sums)
        self.backward_call(self.features, dlogits, self.dfeatures, arguments=lambda: arguments)
        return self.dfeatures

    def values(self) -> dict[str, np.ndarray]:
        """The logits (N, classes) of the last forward pass, by name."""
        return {self.name: self.logits.copy()}
