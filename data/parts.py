"""What a reader found: the parts of a data set, before one is divided or chosen."""

from dataclasses import dataclass

import numpy as np

from minisqx.data.classes import listed
from minisqx.data.dataset import Dataset, Part, Say, check_parts, set_aside, shares_of_classes
from minisqx.errors import DataError

TEST_SHARE = 6  # a sixth


@dataclass(frozen=True)
class Parts:
    """Labelled images of one size, in one to three parts.

    parts: "train", "validation", "test", or some of them. Data without "train" can be measured on, not trained on.
    name, classes, skipped: as in `Dataset`. Raises DataError unless names, images and labels fit each other.
    """

    name: str
    classes: tuple[str, ...]
    parts: dict[str, Part]
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_parts(self.name, self.classes, self.parts)

    @classmethod
    def of(cls, dataset: Dataset) -> "Parts":
        return cls(dataset.name, dataset.classes, dataset.parts, dataset.skipped)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return next(iter(self.parts.values())).images.shape[1:3]

    def dataset(self, say: Say) -> Dataset:
        """The same with a training and a test part. Raises DataError where there is nothing to train on."""
        if "train" not in self.parts:
            part = next(iter(self.parts))
            raise DataError(
                f"{self.name} has a {part} part and no training images; expected them, too: train/<class>/* in a folder, 'images'"
                " and 'labels' in an HDF5 file"
            )
        train, test = self._train_and_test(say)
        validation = self.parts.get("validation")
        return Dataset(
            self.name, self.classes, train.images, train.labels, test.images, test.labels, self.skipped,
            validation_images=None if validation is None else validation.images,
            validation_labels=None if validation is None else validation.labels,
        )  # fmt: skip

    def measured(self, everything: bool, say: Say) -> Part:
        """The images to measure a model on: those of the test part, or all of them.

        Raises DataError where there is no test part, nor a training part of which one could be set aside.
        """
        if everything:
            images, labels = zip(*((part.images, part.labels) for part in self.parts.values()))
            return Part(np.concatenate(images), np.concatenate(labels)) if len(images) > 1 else Part(images[0], labels[0])
        if "test" in self.parts:
            return self.parts["test"]
        if "train" not in self.parts:
            raise DataError(
                f"{self.name} has validation images alone; expected test images, or --all to measure on what there is"
            )
        _, test = self._train_and_test(say)
        # Which they are depends on names and their order, so this is all that can be said of a training.
        say("measured on those alone, which a training on the same names and files leaves out; --all measures on every image")
        return test

    def _train_and_test(self, say: Say) -> tuple[Part, Part]:
        """Without a test part, a sixth of each class becomes one, at least one image of it, and always the same ones."""
        train = self.parts["train"]
        if "test" in self.parts:
            return train, self.parts["test"]
        total, counts = len(train), np.bincount(train.labels)
        if counts.max() < 2:
            raise DataError(
                f"{self.name} has no test part, and none can be set aside: expected at least two images of a class, or"
                " evaluate --all, which needs no test part"
            )
        shares = shares_of_classes(counts, max(1, total // TEST_SHARE))
        kept, aside = set_aside(train.labels, np.clip(shares, counts >= 2, np.maximum(counts - 1, 0)), seed=0)
        line = f"{self.name} has no test part: {len(aside)} of its {total} images are set aside for testing"
        alone = [self.classes[label] for label in np.flatnonzero(counts == 1)]
        but = f", but for {listed(alone)}: their only image trains" if alone else ""
        say(f"{line}, a sixth of each class and at least one image{but}")
        return Part(train.images[kept], train.labels[kept]), Part(train.images[aside], train.labels[aside])
