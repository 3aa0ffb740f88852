"""The images of one run: divided, measured, and known by a digest."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minisqx.checkpoint import CIFAR10_MEAN, CIFAR10_STD
from minisqx.data import open_dataset, split_validation
from minisqx.data.dataset import Dataset, Part
from minisqx.training.options import TrainingOptions

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
IMAGES_AT_ONCE = 1024


@dataclass(frozen=True)
class TrainingData:
    """What a run trains on and is measured with.

    validation: the part that chooses best.h5; may be empty.
    mean, std: of each colour, 0 to 1, used for all parts. measured: whether they are this training part's own.
    digest: SHA-256 of all images, labels and class names: data with the same digest gives the same run.
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

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.train.images.shape[1:3]


def open_training_data(options: TrainingOptions, say: Callable[[str], object]) -> TrainingData:
    """Reads the data that `options` name. Without validation images, a part of the training images is set aside for it.

    Raises DataError for bad data, OptionError if nothing would be left to train on.
    """
    side = options.image_size
    size = None if side is None else (side, side)
    dataset = open_dataset(options.data, image_size=size, skip_bad_images=options.skip_bad_images, say=say)
    train, validation = _validation(dataset, options, say)
    measured = set(dataset.classes) != set(CIFAR10_CLASSES)
    mean, std = measure(train.images) if measured else (CIFAR10_MEAN, CIFAR10_STD)
    test = Part(dataset.test_images, dataset.test_labels)
    return TrainingData(dataset.name, dataset.classes, train, validation, test, mean, std, measured, _digest(dataset))


def _validation(dataset: Dataset, options: TrainingOptions, say: Callable[[str], object]) -> tuple[Part, Part]:
    """What is trained on, and what chooses best.h5."""
    train = dataset.parts["train"]
    own = dataset.parts.get("validation")
    if own is not None:
        say(f"validation: on the {len(own)} validation images of the data; --validation sets none of the training images aside")
        return train, own
    kept, aside = split_validation(train.labels, _count(options.validation, len(train)), options.seed)
    return Part(train.images[kept], train.labels[kept]), Part(train.images[aside], train.labels[aside])


def _count(validation: float, images: int) -> int:
    """A share is at least one image, but never all of them."""
    if 0 < validation < 1:
        return min(max(1, round(validation * images)), images - 1)
    return int(validation)


def measure(images: np.ndarray) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of each colour of uint8 images (N, H, W, 3), from 0 to 1; a colour without change gets 1."""
    pixels = images.size // 3
    total, squares = np.zeros(3), np.zeros(3)
    for first in range(0, len(images), IMAGES_AT_ONCE):
        part = images[first : first + IMAGES_AT_ONCE].reshape(-1, 3).astype(np.float64)
        total += part.sum(axis=0)
        squares += (part * part).sum(axis=0)
    mean = total / pixels
    # Sums of whole numbers, exact in float64: the difference loses nothing that matters.
    std = np.sqrt(np.maximum(squares / pixels - mean * mean, 0))
    std[std == 0] = 255
    return _three(mean / 255), _three(std / 255)


def _three(values: np.ndarray) -> tuple[float, float, float]:
    red, green, blue = values.tolist()
    return red, green, blue


def _digest(dataset: Dataset) -> str:
    digest = hashlib.sha256(repr(dataset.classes).encode())
    # The validation part comes last: data without one keeps the digest that it had before there was any.
    for part in ("train", "test", "validation"):
        if part in dataset.parts:
            for array in (dataset.parts[part].images, dataset.parts[part].labels):
                digest.update(repr(array.shape).encode())
                digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
