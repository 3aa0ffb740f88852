"""Diagnosis of failing runs: the first tensor that is not finite, by its layer's name, and diverging losses."""

import math
from collections.abc import Iterator, Mapping

import numpy as np

from minisqx.data.loader import Batch
from minisqx.machine.ranks import ALONE, Ranks
from minisqx.network import Network

MIN_BATCHES = 100  # before so many, the losses say nothing about divergence


def all_finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all())


def first_nonfinite_output(network: Network, batch: Batch, logits: np.ndarray, ranks: Ranks = ALONE) -> str:
    """The first output in the training forward pass of `batch` that is not finite, in words. Call it before `backward`.

    The inputs of the layer it names are finite, because no activation turns a NaN into a finite value. ranks: the processes that
    made this pass together, which must all call this.
    """
    chunks, size = ranks.share(batch.layout.chunks), batch.layout.images_per_chunk
    mine = next(_nonfinite_outputs(network, batch, slice(chunks.start * size, chunks.stop * size)), None)
    earliest = min((each for each in ranks.everyones(mine) if each is not None), default=None)
    if earliest is not None:
        return earliest[1]
    return "the loss itself" if all_finite(logits) else f"the output of {network.spec.units[-1].name}"


def _nonfinite_outputs(network: Network, batch: Batch, stored: slice) -> Iterator[tuple[int, str]]:
    """The outputs that are not finite in the images that this rank stores: their place in the network, and their name."""
    images = np.isfinite(batch.layout.unpack(batch.data)[stored]).all(axis=(1, 2, 3))
    if not images.all():
        yield 0, f"the normalised pixels of training image {batch.indices[stored][images.argmin()]}"
    with np.errstate(all="ignore"):
        for place, layer in enumerate(network.layers.values(), start=1):
            for name, values in layer.values().items() if hasattr(layer, "values") else ():
                if not all_finite(values[stored]):
                    yield place, f"the output of {name}"


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
