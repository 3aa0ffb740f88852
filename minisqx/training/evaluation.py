"""Evaluation of a model on labelled images."""

from dataclasses import dataclass, replace

import numpy as np

from minisqx.data import Loader
from minisqx.data.classes import likeness_line, listed, match_classes
from minisqx.data.dataset import Say
from minisqx.errors import DataError
from minisqx.inference.answers import Answers
from minisqx.inference.model import Model
from minisqx.inference.prediction import softmax
from minisqx.training.optim import cross_entropy


@dataclass(frozen=True, eq=False)
class Evaluation(Answers):
    """The result of `evaluate`. loss: mean cross-entropy."""

    loss: float


def evaluate(model: Model, images: np.ndarray, labels: np.ndarray, batch_size: int = 256) -> Evaluation:
    """Runs the model on images uint8 (N, H, W, 3) of its input size, with labels int64 (N,) from 0 to its classes - 1.

    The batch size affects only speed. Raises OptionError if it is below 1, CheckpointError if logits are not finite or the model
    has no normalisation.
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
        augment="none",
        shuffle=False,
        seed=0,
        dtype=network.dtype,
        larger_chunks=network.spec.larger_chunks,
    )
    predicted, probability, loss_sum = np.empty(len(labels), np.int64), np.empty(len(labels)), 0.0
    for batch in loader.epoch(0):
        logits = network.forward(batch, training=False)
        model.check_finite(logits)
        loss_sum += cross_entropy(logits, batch.labels)[0] * len(batch.labels)
        probabilities = softmax(logits)
        assert probabilities is not None  # since the logits are finite
        predicted[batch.indices], probability[batch.indices] = logits.argmax(axis=1), probabilities.max(axis=1)
    return Evaluation(model.classes, labels, predicted, probability, loss_sum / len(labels))


def trained_with(model: Model, data: str) -> dict | None:
    """The recipe that the model was trained with, if it was trained on data of this name; else None."""
    recipe = model.provenance.get("recipe")
    return recipe if isinstance(recipe, dict) and model.provenance.get("data") == data else None


def with_classes(model: Model, classes: tuple[str, ...], say: Say) -> Model:
    """The model, with the class names of a data set if it has none of its own, which is reported through `say`.

    Raises DataError if the number of classes differs.
    """
    if model.classes is not None:
        return model
    count = model.spec.num_classes
    if len(classes) != count:
        raise DataError(
            f"the data has {len(classes)} classes, and the model {model.name!r} has {count}, without names:"
            " expected the same number; save the model with its classes"
        )
    say(f"the model {model.name!r} has no class names: using those of the data, in their order")
    return replace(model, classes=classes)


def model_labels(model: Model, classes: tuple[str, ...], labels: np.ndarray, say: Say) -> np.ndarray:
    """Converts labels of a data set to the numbering of the model, matching classes by name and never by number.

    Names that differ only in case or Unicode form match, which is reported through `say`. Raises DataError if the model doesn't
    know a class that has images.
    """
    known = model.classes
    assert known is not None  # see `with_classes`
    used = [classes[label] for label in np.unique(labels)]
    # All names take part, because a class without images, too, can make a match ambiguous.
    matched = match_classes(classes, known)
    unknown = [name for name in used if name not in matched]
    if unknown:
        left = [name for name in known if name not in matched.values()]
        raise DataError(_unknown_classes(f"the model {model.name!r}", known, classes, unknown, left))
    line = likeness_line({name: matched[name] for name in used}, f"those of the model {model.name!r}")
    if line is not None:
        say(line)
    numbers = {name: number for number, name in enumerate(known)}
    return np.array([numbers.get(matched.get(name, name), -1) for name in classes], np.int64)[labels]


def _unknown_classes(model: str, known: tuple[str, ...], classes: tuple[str, ...], unknown: list[str], left: list[str]) -> str:
    """The error message for classes that the model doesn't know. left: classes of the model that matched none of the data."""
    what, are = ("class", "is") if len(unknown) == 1 else ("classes", "are")
    line = f"the data's {what} {listed(unknown)} {are} unknown to {model}"
    line += f", whose other classes are {listed(left)}: " if left else ", all of whose classes have matched: "
    if _are_numbers(known) and not _are_numbers(classes):
        return line + "the model has numbers for names: use them in the data, or save the model with the names of its classes"
    if _are_numbers(classes) and not _are_numbers(known):
        return line + "the data has numbers for names: use the model's names ('classes' in an HDF5 file, or folder names)"
    return line + "use the model's names in the data, or remove the classes that the model can't know"


def _are_numbers(classes: tuple[str, ...]) -> bool:
    """Whether the names are the default ones, for data without names: "0", "1", ..."""
    return classes == tuple(map(str, range(len(classes))))
