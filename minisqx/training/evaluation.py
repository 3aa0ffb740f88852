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
    """The result of `evaluate`. loss: mean cross-entropy of the probabilities, at the model's temperature."""

    loss: float


def evaluate(model: Model, images: np.ndarray, labels: np.ndarray, batch_size: int = 256) -> Evaluation:
    """Runs the model on images uint8 (N, H, W, 3) of its input size, with labels int64 (N,) from 0 to its classes - 1.

    The batch size affects only speed. Raises OptionError if it is below 1, CheckpointError if logits are not finite or the model
    has no normalisation.
    """
    logits = logits_of(model, images, batch_size)
    assert model.classes is not None  # checked by `logits_of`
    loss, _ = cross_entropy(logits if model.temperature == 1 else logits / model.temperature, labels)
    probabilities = softmax(logits, model.temperature)
    assert probabilities is not None  # since the logits are finite
    return Evaluation(model.classes, labels, logits.argmax(axis=1), probabilities.max(axis=1), loss)


def logits_of(model: Model, images: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """The logits (N, classes) of images as in `evaluate`, which it raises the same errors as."""
    model.check_described()
    assert model.mean is not None and model.std is not None
    network = model.network
    loader = Loader(
        images,
        np.zeros(len(images), np.int64),
        batch_size,
        mean=model.mean,
        std=model.std,
        augment="none",
        shuffle=False,
        seed=0,
        dtype=network.dtype,
        larger_chunks=network.spec.larger_chunks,
    )
    found = np.empty((len(images), model.spec.num_classes), network.dtype)
    for batch in loader.epoch(0):
        found[batch.indices] = network.forward(batch, training=False)
    model.check_finite(found)
    return found


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
