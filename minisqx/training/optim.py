"""Loss and optimizer: softmax cross-entropy, SGD with momentum, and the paper's step schedule."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from minisqx.checks import is_number, plain, require
from minisqx.errors import OptionError
from minisqx.kernels import loss, sgd


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean softmax cross-entropy of logits (N, classes) and integer labels (N,), and its gradient (N, classes).

    Logits of another kind than float32 and float64 become one of them: float64 if they have more bits than float32.
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
    return loss.softmax_cross_entropy(dlogits, logits, labels.astype(np.int64, copy=False)), dlogits


class SGD:
    """Stochastic gradient descent on a network's flat buffers; see `kernels/sgd.py` for the formula.

    Options such as `lr` may be set between steps. `velocity` is the momentum's state, flat, in the order of
    `network.flat_parameters`. A copy has a velocity of its own. Copied or pickled together with the
    network, as one tuple, it is the copied network's.
    """

    def __init__(self, network, lr: float, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0):
        if not hasattr(network, "flat_parameters"):
            what = "model.network" if hasattr(network, "network") else "network"
            raise OptionError(f"SGD of a {type(network).__name__}: expected a Network, as in SGD({what}, lr=0.1)")
        self.network, self.lr, self.weight_decay = network, lr, weight_decay
        self.momentum, self.nesterov = momentum, nesterov
        self.velocity = np.zeros_like(network.flat_parameters)

    def __setstate__(self, state: dict) -> None:
        # What came from another process may be a file in memory that can only be read.
        vars(self).update(state, velocity=np.array(state["velocity"]))

    def __setattr__(self, name: str, value: Any) -> None:
        if name in ("lr", "momentum", "weight_decay"):
            value, below = plain(value), 1 if name == "momentum" else math.inf
            expected = "0 or more, and below 1" if name == "momentum" else "0 or more"
            require(is_number(value) and 0 <= value < below, name, value, expected)
            value = float(value)
        if name == "nesterov":
            value = plain(value)
            require(isinstance(value, bool), name, value, "True or False")
        if name in ("momentum", "nesterov"):
            options = vars(self) | {name: value}
            if options.get("nesterov") and options["momentum"] == 0:
                raise OptionError("nesterov with momentum 0: expected a momentum over 0, such as 0.9")
        if name == "network" and value is not vars(self).get(name, value):
            raise OptionError("the network of an optimizer can't be replaced, since the velocity is its: make a new SGD")
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
        """Moves the parameters along the gradients that the last `backward` wrote."""
        net = self.network
        options = (self.lr, self.momentum, self.weight_decay, self.nesterov)
        sgd.step(net.flat_parameters, net.flat_gradients, self.velocity, *options)


class StepSchedule:
    """The learning rate falls by the factor `gamma` after each milestone (an epoch).

    By default after 30, 60, 75 and 90 % of `epochs`: the paper's 60, 120, 150 and 180 of 200.
    """

    FRACTIONS = (0.3, 0.6, 0.75, 0.9)

    def __init__(self, lr: float, epochs: int, milestones: tuple[int, ...] | None = None, gamma: float = 0.2):
        lr, epochs, gamma = plain((lr, epochs, gamma))
        require(is_number(lr) and lr >= 0, "lr", lr, "a learning rate of 0 or more, such as 0.1")
        require(is_number(epochs) and epochs > 0, "epochs", epochs, "a number over 0, such as 200")
        require(is_number(gamma) and gamma > 0, "gamma", gamma, "a factor over 0, such as 0.2")
        if milestones is None:
            milestones = tuple(max(1, round(epochs * share)) for share in self.FRACTIONS)
        steps = plain(tuple(milestones)) if isinstance(milestones, Iterable) else ()
        known = isinstance(milestones, Iterable) and all(map(is_number, steps))
        require(known, "milestones", milestones, "epochs, such as (60, 120, 150, 180)")
        self.base, self.gamma, self.milestones = lr, gamma, steps

    def __repr__(self) -> str:
        return f"StepSchedule(lr={self.base}, milestones={self.milestones}, gamma={self.gamma})"

    def lr(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        epoch = plain(epoch)
        return self.base * self.gamma ** sum(epoch >= milestone for milestone in self.milestones)
