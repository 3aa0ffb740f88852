"""Loss and optimizer: softmax cross-entropy, and SGD with momentum."""

import math
from typing import Any

import numpy as np

from minisqx.checks import is_number, plain, require
from minisqx.errors import OptionError
from minisqx.kernels import loss, sgd


def cross_entropy(logits: np.ndarray, labels: np.ndarray, class_weights: np.ndarray | None = None) -> tuple[float, np.ndarray]:
    """The mean softmax cross-entropy of logits (N, classes) and integer labels (N,), and its gradient (N, classes).

    class_weights: (classes,), over 0; the mean is then weighted by the class of each image. None: all count the same.
    float16 logits are converted to float32, long doubles to float64; the gradient has the dtype of the converted logits. Raises
    OptionError for other shapes, dtypes or weights, and for labels outside 0 to classes - 1.
    """
    logits = np.ascontiguousarray(logits)
    labels = np.asarray(labels)
    if logits.ndim != 2 or logits.dtype.kind != "f" or labels.shape != logits.shape[:1] or labels.dtype.kind not in "iu":
        raise OptionError(
            f"logits of shape {logits.shape}, labels {labels.dtype} of shape {labels.shape}: expected (N, classes) and N integers"
        )
    if labels.size == 0 or labels.min() < 0 or labels.max() >= logits.shape[1]:
        given = f"from {labels.min()} to {labels.max()}" if labels.size else "empty"
        raise OptionError(f"labels {given}: expected at least one, each from 0 to {logits.shape[1] - 1}")
    logits = logits.astype(np.float32 if logits.dtype.itemsize <= 4 else np.float64, copy=False)
    dlogits = np.empty_like(logits)
    weights = np.ones(logits.shape[1]) if class_weights is None else np.asarray(class_weights, np.float64)
    if weights.shape != logits.shape[1:] or not (np.isfinite(weights).all() and (weights > 0).all()):
        raise OptionError(f"class weights of shape {weights.shape}: expected {logits.shape[1]} finite numbers over 0")
    return loss.softmax_cross_entropy(dlogits, logits, labels.astype(np.int64, copy=False), weights), dlogits


def balanced_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Class weights (classes,) with which the images of each class count as much together as those of any other.

    labels: int64 (N,), of all training images. The weight of a class is N / (classes * its images), as in scikit-learn, so an
    image's weight is 1 on average; a class without images has the weight 1.
    """
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    return np.where(counts > 0, len(labels) / (present * np.maximum(counts, 1)), 1.0)


class SGD:
    """Stochastic gradient descent with momentum, on a network's flat buffers; `kernels/sgd.py` has the formula.

    lr, momentum, nesterov and weight_decay may be changed between steps. velocity: the momentum buffer, with the shape, dtype and
    order of `network.flat_parameters`. A copy has its own velocity; to copy network and optimizer so that they still belong
    together, copy or pickle both in one tuple. Raises OptionError for invalid options, also when they are changed.
    """

    def __init__(self, network, lr: float, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0):
        if not hasattr(network, "flat_parameters"):
            name = "model.network" if hasattr(network, "network") else "network"
            raise OptionError(f"SGD of a {type(network).__name__}: expected a Network, as in SGD({name}, lr=0.1)")
        self.network, self.lr, self.weight_decay = network, lr, weight_decay
        self.momentum, self.nesterov = momentum, nesterov
        self.velocity = np.zeros_like(network.flat_parameters)

    def __setstate__(self, state: dict) -> None:
        # An array unpickled from another process may be a read-only memory map.
        vars(self).update(state, velocity=np.array(state["velocity"]))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("lr", "momentum", "weight_decay"):
            value, limit = plain(value), 1 if name == "momentum" else math.inf
            expected = "0 or more, and below 1" if name == "momentum" else "0 or more"
            require(is_number(value) and 0 <= value < limit, name, value, expected)
            value = float(value)
        if name == "nesterov":
            value = plain(value)
            require(isinstance(value, bool), name, value, "True or False")
        if name in ("momentum", "nesterov"):
            options = vars(self) | {name: value}
            if options.get("nesterov") and options["momentum"] == 0:
                raise OptionError("nesterov with momentum 0: expected a momentum over 0, such as 0.9")
        if name == "network" and value is not vars(self).get(name, value):
            raise OptionError("the network of an optimizer can't be replaced, since the velocity belongs to it: make a new SGD")
        if name == "velocity":
            flat = self.network.flat_parameters
            fits = isinstance(value, np.ndarray) and value.dtype == flat.dtype and value.shape == flat.shape
            if not fits or not value.flags.c_contiguous or not value.flags.writeable:
                given = f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
                raise OptionError(f"velocity: {given}; expected {flat.dtype} of shape {flat.shape}, contiguous and writable")
        super().__setattr__(name, value)

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={getattr(self, name)}" for name in ("lr", "momentum", "nesterov", "weight_decay"))
        return f"SGD({self.network.spec.name}, {options})"

    def step(self) -> None:
        """Updates the parameters, but for those that the network has frozen, with the gradients that `backward` wrote last."""
        net, options = self.network, (self.lr, self.momentum, self.weight_decay, self.nesterov)
        trained = slice(net.frozen_parameters, None)
        sgd.step(net.flat_parameters[trained], net.flat_gradients[trained], self.velocity[trained], *options)
