"""How well a model does on labelled images."""

from dataclasses import dataclass, replace

import numpy as np

from minisqx.data import Loader
from minisqx.data.classes import likeness_line, listed, match_classes
from minisqx.data.dataset import Say
from minisqx.errors import DataError
from minisqx.inference.model import Model
from minisqx.training.optim import cross_entropy


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


def with_classes(model: Model, classes: tuple[str, ...], say: Say) -> Model:
    """The model; where its file names no classes, one whose classes are a data set's, in their order, which `say` is told.

    Raises DataError if there are more or fewer of them than the model tells apart.
    """
    if model.classes is not None:
        return model
    count = model.spec.num_classes
    if len(classes) != count:
        raise DataError(
            f"the data has {len(classes)} classes, and the model {model.name!r} tells {count} apart, without names for them:"
            " expected as many; save the model with its classes"
        )
    say(f"the model {model.name!r} has no names for its classes: the data's are taken, in their order")
    return replace(model, classes=classes)


def model_labels(model: Model, classes: tuple[str, ...], labels: np.ndarray, say: Say) -> np.ndarray:
    """Labels of a data set with `classes` in the numbering of the model: by name, never by number.

    `say` takes a line where names are the same but for case or Unicode form. Raises DataError for a class with images that the
    model doesn't know.
    """
    known = model.classes
    assert known is not None  # `with_classes` comes first
    used = [classes[label] for label in np.unique(labels)]
    # Of all names, since one without images makes another's likeness doubtful, too.
    matched = match_classes(classes, known)
    unknown = [name for name in used if name not in matched]
    if unknown:
        left = [name for name in known if name not in matched.values()]
        raise DataError(_unknown(f"the model {model.name!r}", known, classes, unknown, left))
    line = likeness_line({name: matched[name] for name in used}, f"those of the model {model.name!r}")
    if line is not None:
        say(line)
    numbers = {name: number for number, name in enumerate(known)}
    return np.array([numbers.get(matched.get(name, name), -1) for name in classes], np.int64)[labels]


def _unknown(model: str, known: tuple[str, ...], classes: tuple[str, ...], unknown: list[str], left: list[str]) -> str:
    """What is said of classes that the model doesn't know, and what to do about them."""
    what, are = ("class", "is") if len(unknown) == 1 else ("classes", "are")
    line = f"the data's {what} {listed(unknown)} {are} unknown to {model}"
    line += f", whose other classes are {listed(left)}: " if left else ", all of whose classes are there already: "
    if _are_numbers(known) and not _are_numbers(classes):
        return line + "it has numbers for names: name the data's classes by them, or save the model with the names of its classes"
    if _are_numbers(classes) and not _are_numbers(known):
        return line + "the data has numbers for names: name its classes as the model does ('classes' in an HDF5 file, or folders)"
    return line + "name the data's classes as the model does, or take those away that it can't know"


def _are_numbers(classes: tuple[str, ...]) -> bool:
    """Whether they are what stands in for names where there are none."""
    return classes == tuple(map(str, range(len(classes))))
