"""How well a model does on labelled images."""

from dataclasses import dataclass

import numpy as np

from minisqx.data import Loader
from minisqx.errors import DataError
from minisqx.inference import Model
from minisqx.optim import cross_entropy


@dataclass(frozen=True, eq=False)
class Evaluation:
    """classes: their names. confusion: int64 (classes, classes), images by true class (rows) and by the model's (columns).

    loss: mean cross-entropy of an image.
    """

    classes: tuple[str, ...]
    confusion: np.ndarray
    loss: float

    @property
    def images(self) -> int:
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        return int(self.confusion.trace())

    @property
    def accuracy(self) -> float:
        """Share of the images whose likeliest class is the true one, 0 to 1."""
        return self.correct / self.images

    @property
    def class_accuracy(self) -> list[float | None]:
        """The same for the images of each class; None where there are none."""
        sums = self.confusion.sum(axis=1)
        return [float(right / total) if total else None for right, total in zip(self.confusion.diagonal(), sums)]


def evaluate(model: Model, images: np.ndarray, labels: np.ndarray, batch_size: int = 256) -> Evaluation:
    """Runs the model on images uint8 (N, H, W, 3) of its input size, with labels int64 (N,) from 0 to its classes - 1.

    The batch size changes the time alone. Raises OptionError if it is below 1, CheckpointError where the model gives
    numbers that are not finite, or doesn't know its normalisation.
    """
    model.check_described()
    assert model.classes is not None and model.mean is not None and model.std is not None
    network = model.network
    loader = Loader(
        images,
        labels,
        batch_size,
        mean=model.mean,
        std=model.std,
        augment=False,
        shuffle=False,
        seed=0,
        dtype=network.dtype,
        larger_chunks=network.spec.larger_chunks,
    )
    confusion, loss_sum = np.zeros((len(model.classes),) * 2, np.int64), 0.0
    for batch in loader.epoch(0):
        logits = network.forward(batch, training=False)
        model.check_finite(logits)
        loss_sum += cross_entropy(logits, batch.labels)[0] * len(batch.labels)
        np.add.at(confusion, (batch.labels, logits.argmax(axis=1)), 1)
    return Evaluation(model.classes, confusion, loss_sum / len(labels))


def model_labels(model: Model, classes: tuple[str, ...], labels: np.ndarray) -> np.ndarray:
    """Labels of a data set with `classes` in the numbering of the model: by name where the names are the same.

    Raises DataError unless there are as many classes.
    """
    count = model.spec.num_classes
    if len(classes) != count:
        raise DataError(f"the data has {len(classes)} classes, the model {model.name!r} tells {count} apart: expected as many")
    names = model.classes or classes
    if set(classes) != set(names):
        return labels
    return np.array([names.index(name) for name in classes], np.int64)[labels]
