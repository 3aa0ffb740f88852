"""What goes wrong in training: the first number that is not finite, by its layer's name, and losses that say "diverging"."""

import math
from collections.abc import Mapping

import numpy as np

from minisqx.data.loader import Batch
from minisqx.network import Network

FEWEST_BATCHES = 100


def all_finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all())


def first_in_forward(network: Network, batch: Batch, logits: np.ndarray) -> str:
    """Where the training forward pass of `batch` left what is finite; asked for before `backward`, which works in place.

    The layer named has a finite input, since all that come before it have finite outputs: no activation hides a NaN.
    """
    images = np.isfinite(batch.layout.unpack(batch.data)).all(axis=(1, 2, 3))
    if not images.all():
        return f"the normalised pixels of training image {batch.indices[images.argmin()]}"
    with np.errstate(all="ignore"):
        for layer in network.layers.values():
            for name, values in layer.values().items() if hasattr(layer, "values") else ():
                if not all_finite(values):
                    return f"the output of {name}"
    return "the loss itself" if all_finite(logits) else f"the output of {network.spec.units[-1].name}"


def first_in_backward(network: Network) -> str:
    """The first gradient that is not finite, in backward's order."""
    gradients = network.gradients()
    groups = (group for unit in reversed(network.spec.units) for group in reversed(unit.groups or (unit.layers,)))
    names = (f"{layer.name}.{kind}" for group in groups for layer in group for kind in layer.parameter_shapes)
    return f"the gradient of {first_in({name: gradients[name] for name in names})}"


def first_in(state: Mapping[str, np.ndarray]) -> str | None:
    """The name of the first tensor that is not finite, in the order of the forward pass, or None."""
    return next((name for name, array in state.items() if not all_finite(array)), None)


def diverges(losses: list[float], classes: int, batches: int) -> bool:
    """Whether the training losses of all epochs so far, of `batches` steps in all, say that the run gets worse instead of better.

    Guessing has the loss ln(classes). A run diverges when it is worse than that, or worse than its best epoch by half of that.
    The first epoch has its first batches in its average, of weights drawn at random: it may be twice as bad as guessing. Before
    `FEWEST_BATCHES` nothing is said of a run.
    """
    guessing = math.log(classes)
    *earlier, last = losses
    if batches < FEWEST_BATCHES:
        return False
    return last > (min(guessing, min(earlier) + guessing / 2) if earlier else 2 * guessing)
