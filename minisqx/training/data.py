"""The images of a run: their parts, normalisation and digest."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minisqx.checkpoint import CIFAR10_MEAN, CIFAR10_STD, Checkpoint
from minisqx.data import FILES, open_dataset, split_validation
from minisqx.data.dataset import Dataset, Part, shares_of_classes
from minisqx.data.groups import groups_line, set_groups_aside
from minisqx.data.likeness import likeness_lines
from minisqx.data.split import has_files, set_files_aside
from minisqx.errors import DataError
from minisqx.inference.model import Model
from minisqx.training.options import TrainingOptions

EMBEDDED = "embedded shapes"
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGES_AT_ONCE = 1024  # when statistics are computed in float64


@dataclass(frozen=True)
class TrainingData:
    """The data set of a run.

    validation: images that select best.h5; may be empty. mean, std: per colour, for pixels from 0 to 1, used for all parts.
    measured: whether mean and std were computed from the training images; else they are the constants of CIFAR-10, or those that
        the first weights of the run were trained with.
    digest: SHA-256 of all images, labels and class names, in hexadecimal; equal digests give equal runs.
    notes: lines about images that are in two parts, or nearly.
    """

    name: str
    classes: tuple[str, ...]
    train: Part
    validation: Part
    test: Part
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    measured: bool
    digest: str
    notes: tuple[str, ...] = ()

    @property
    def is_own(self) -> bool:
        """Whether these are images of the user's own: not CIFAR-10, by its classes, and not the embedded data."""
        return set(self.classes) != set(CIFAR10_CLASSES) and self.name != EMBEDDED

    @property
    def normalised_by(self) -> str:
        """Where mean and std come from, in words."""
        if self.measured:
            return "of the training images"
        usual = (self.mean, self.std) == (CIFAR10_MEAN, CIFAR10_STD)
        return "the usual constants of CIFAR-10" if usual else "those of the first weights"

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.train.images.shape[1:3]


def open_training_data(
    options: TrainingOptions, say: Callable[[str], object], initial: Model | Checkpoint | None = None
) -> TrainingData:
    """Opens the data set of `options`. If it has no validation images, some training images are set aside for validation.

    initial: where the weights come from if the run started from others', or last.h5 of such a run: with their normalisation, if
    they say it, since the weights expect it.
    Raises DataError for invalid data, OptionError if no training images would be left.
    """
    side = options.image_size
    size = None if side is None else (side, side)
    skip, groups = options.skip_bad_images, options.groups
    dataset = open_dataset(options.data, image_size=size, skip_bad_images=skip, groups=groups, split=options.split, say=say)
    train, validation = _validation(dataset, options, say)
    notes = tuple(likeness_lines({"train": train, "validation": validation, "test": dataset.test}))
    for line in notes:
        say(line)
    measured = set(dataset.classes) != set(CIFAR10_CLASSES)
    mean, std = channel_statistics(train.images) if measured else (CIFAR10_MEAN, CIFAR10_STD)
    if initial is not None and initial.mean is not None and initial.std is not None:
        mean, std, measured = initial.mean, initial.std, False
    return TrainingData(
        dataset.name, dataset.classes, train, validation, dataset.test, mean, std, measured, _digest(dataset), notes
    )


def _validation(dataset: Dataset, options: TrainingOptions, say: Callable[[str], object]) -> tuple[Part, Part]:
    """The training part and the validation part."""
    train = dataset.parts["train"]
    own = dataset.parts.get("validation")
    if own is not None:
        say(f"validation: the {len(own)} validation images of the data set; no training images are set aside (--validation)")
        return train, own
    count = _count(options.validation, len(train))
    if options.split == FILES and has_files(train) and 0 < count < len(train):
        share = count / len(train)
        kept, aside = set_files_aside(train, share, options.groups, "validation", options.seed, at_least_one=False)
        if not len(aside):
            raise DataError(_none_aside(dataset.name))
        if train.groups is not None:
            say(groups_line("validation", train, kept, aside))
    elif train.groups is None or not 0 < count < len(train):
        kept, aside = split_validation(train.labels, count, options.seed)
    else:
        kept, aside = set_groups_aside(
            train.labels, train.groups, shares_of_classes(np.bincount(train.labels), count), options.seed
        )
        if not len(aside):
            raise DataError(_none_aside(dataset.name))
        say(groups_line("validation", train, kept, aside))
    return train.of(kept), train.of(aside)


def _none_aside(name: str) -> str:
    return (
        f"{name}: no image, or group of images, can be set aside for validation: expected at least two of a class, or"
        " --validation 0"
    )


def _count(validation: float, images: int) -> int:
    """The number of validation images. A share is rounded to at least one image and never to all of them."""
    if 0 < validation < 1:
        return min(max(1, round(validation * images)), images - 1)
    return int(validation)


def channel_statistics(images: np.ndarray) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation per colour of uint8 images (N, H, W, 3), as 0 to 1; a deviation of 0 is replaced by 1."""
    pixels = images.size // 3
    total, squares = np.zeros(3), np.zeros(3)
    for first in range(0, len(images), IMAGES_AT_ONCE):
        part = images[first : first + IMAGES_AT_ONCE].reshape(-1, 3).astype(np.float64)
        total += part.sum(axis=0)
        squares += (part * part).sum(axis=0)
    mean = total / pixels
    # The sums are exact, being integers in float64, so the difference cancels no digits that matter.
    std = np.sqrt(np.maximum(squares / pixels - mean * mean, 0))
    std[std == 0] = 255
    return _rgb(mean / 255), _rgb(std / 255)


def _rgb(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = values.tolist()
    return red, green, blue


def _digest(dataset: Dataset) -> str:
    digest = hashlib.sha256(repr(dataset.classes).encode())
    # Validation comes last, so that data without it keeps its digest from versions that had no validation part.
    for part in ("train", "test", "validation"):
        if part in dataset.parts:
            for array in (dataset.parts[part].images, dataset.parts[part].labels):
                digest.update(repr(array.shape).encode())
                digest.update(np.ascontiguousarray(array).data)
            if (groups := dataset.parts[part].groups) is not None:
                digest.update(b"groups" + groups.tobytes())
    return digest.hexdigest()
