"""Diagnosis of failing runs: the first tensor that is not finite, by its layer's name, and diverging losses."""

import math
from collections.abc import Mapping

import numpy as np

from minisqx.data.loader import Batch
from minisqx.network import Network

MIN_BATCHES = 100  # before so many, the losses say nothing about divergence


def all_finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all())


def first_nonfinite_output(network: Network, batch: Batch, logits: np.ndarray) -> str:
    """The first output in the training forward pass of `batch` that is not finite, in words. Call it before `backward`.

    The inputs of the layer it names are finite, because no activation turns a NaN into a finite value.
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


def first_nonfinite_gradient(network: Network) -> str:
    """The first gradient that is not finite, in the order of the backward pass, in words."""
    gradients = network.gradients()
    groups = (group for unit in reversed(network.spec.units) for group in reversed(unit.groups or (unit.layers,)))
    names = (f"{layer.name}.{key}" for group in groups for layer in group for key in layer.parameter_shapes)
    return f"the gradient of {first_nonfinite({name: gradients[name] for name in names})}"


def first_nonfinite(tensors: Mapping[str, np.ndarray]) -> str | None:
    """The name of the first tensor that is not finite, or None."""
    return next((name for name, array in tensors.items() if not all_finite(array)), None)


def diverges(losses: list[float], classes: int, batches: int) -> bool:
    """Whether a run diverges. losses: training loss of each epoch so far. batches: the number of steps so far.

    Random guessing has the loss ln(classes). A run diverges if its loss is above that, or above its best epoch's by half of it.
    The average of the first epoch includes batches with random weights, so its limit is twice the loss of guessing. The answer is
    False before `MIN_BATCHES` steps.
    """
    guessing = math.log(classes)
    *earlier, last = losses
    if batches < MIN_BATCHES:
        return False
    return last > (min(guessing, min(earlier) + guessing / 2) if earlier else 2 * guessing)
