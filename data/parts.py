"""The parts of a data set as its source has them, before a test part is set aside."""

from dataclasses import dataclass

import numpy as np

from minisqx.data.classes import listed
from minisqx.data.dataset import Dataset, Part, Say, check_parts, set_aside, shares_of_classes
from minisqx.data.groups import groups_line, set_groups_aside
from minisqx.errors import DataError

TEST_SHARE = 6  # a sixth
_MORE_GROUPS = "expected at least two groups of each class; add groups, or divide the images yourself into train, val and test"


@dataclass(frozen=True)
class Parts:
    """Labelled images of one size, in one to three parts.

    parts: some or all of "train", "validation" and "test". Data without "train" can only be evaluated on.
    name, classes, skipped: as in `Dataset`. Raises DataError unless names, images and labels are consistent.
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
        """A `Dataset` with a training and a test part. Raises DataError if there are no training images."""
        if "train" not in self.parts:
            part = next(iter(self.parts))
            raise DataError(
                f"{self.name} has a {part} part but no training images; expected train/<class>/* in a folder, or 'images' and"
                " 'labels' in an HDF5 file"
            )
        train, test = self._train_and_test(say)
        return Dataset(self.name, self.classes, train, test, self.parts.get("validation"), self.skipped)

    def measured(self, everything: bool, say: Say) -> Part:
        """The images to evaluate a model on: the test part, or all images.

        Raises DataError if there is neither a test part nor a training part from which to set one aside.
        """
        if everything:
            return together(list(self.parts.values()))
        if "test" in self.parts:
            return self.parts["test"]
        if "train" not in self.parts:
            raise DataError(f"{self.name} has only validation images; expected test images, or --all to evaluate on all images")
        _, test = self._train_and_test(say)
        # The choice depends on names and order, so only a training on the same files is known to leave them out.
        say("evaluating on these only, which training on the same names and files leaves out; --all evaluates on every image")
        return test

    def _train_and_test(self, say: Say) -> tuple[Part, Part]:
        """Without a test part, sets a sixth of each class aside as one: at least one image, and always the same ones."""
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
        shares = np.clip(shares, counts >= 2, np.maximum(counts - 1, 0))
        if train.groups is not None:
            kept, aside = set_groups_aside(train.labels, train.groups, shares, seed=0)
            if not len(aside):
                raise DataError(f"{self.name} has no test part, and no group of images can be set aside as one: {_MORE_GROUPS}")
            say(groups_line(f"{self.name} has no test part: set aside for testing", train, kept, aside))
            return train.of(kept), train.of(aside)
        kept, aside = set_aside(train.labels, shares, seed=0)
        line = f"{self.name} has no test part: {len(aside)} of its {total} images are set aside for testing"
        single = [self.classes[label] for label in np.flatnonzero(counts == 1)]
        exception = f", except for {listed(single)}, whose only image is for training" if single else ""
        say(f"{line}, a sixth of each class and at least one image{exception}")
        return train.of(kept), train.of(aside)


def together(parts: list[Part]) -> Part:
    """All images of these parts as one."""
    if len(parts) == 1:
        return parts[0]
    names = None
    if all(part.names is not None for part in parts):
        names = tuple(name for part in parts for name in part.names or ())
    return Part(np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts]), names)
