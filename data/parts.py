"""The parts of a data set as its source has them, before a test part is set aside."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from minisqx.data import DRAWN, FILES
from minisqx.data.classes import listed
from minisqx.data.dataset import Dataset, Part, Say, check_parts, set_aside, shares_of_classes
from minisqx.data.groups import groups_line, set_groups_aside, with_groups
from minisqx.data.split import has_files, set_files_aside
from minisqx.errors import DataError

TEST_SHARE = 6  # a sixth
_MORE_GROUPS = "expected at least two groups of each class; add groups, or divide the images yourself into train, val and test"


@dataclass(frozen=True)
class Parts:
    """Labelled images of one size, in one to three parts.

    groups: one of `GROUPINGS`, by which the files of an image folder belong together; None: by no rule.
    parts: some or all of "train", "validation" and "test". Data without "train" can only be evaluated on.
    name, classes, skipped: as in `Dataset`. Raises DataError unless names, images and labels are consistent.
    """

    name: str
    classes: tuple[str, ...]
    parts: dict[str, Part]
    skipped: tuple[str, ...] = ()
    groups: str | None = None

    def __post_init__(self) -> None:
        check_parts(self.name, self.classes, self.parts)

    @classmethod
    def of(cls, dataset: Dataset) -> "Parts":
        return cls(dataset.name, dataset.classes, dataset.parts, dataset.skipped)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return next(iter(self.parts.values())).images.shape[1:3]

    def dataset(self, say: Say, split: str = FILES) -> Dataset:
        """A `Dataset` with a training and a test part. Raises DataError if there are no training images."""
        if "train" not in self.parts:
            part = next(iter(self.parts))
            raise DataError(
                f"{self.name} has a {part} part but no training images; expected train/<class>/* in a folder, or 'images' and"
                " 'labels' in an HDF5 file"
            )
        train, test = self._train_and_test(say, split)
        return Dataset(self.name, self.classes, train, test, self.parts.get("validation"), self.skipped)

    def measured(self, everything: bool, say: Say, trained: Mapping | None = None) -> Part:
        """The images to evaluate a model on: the test part, or all images if there is none, or if asked for.

        trained: of a model that was trained on data of this name, the "split" and "groups" of its training; then only the images
        that it set aside are measured where there is no test part. Raises DataError if there are only validation images.
        """
        if everything:
            return together(list(self.parts.values()))
        if "test" in self.parts:
            return self.parts["test"]
        if "train" not in self.parts:
            raise DataError(f"{self.name} has only validation images; expected test images, or --all to evaluate on all images")
        if trained is None:
            whole = together(list(self.parts.values()))
            say(f"{self.name} has no test part: all its {len(whole)} images are measured")
            return whole
        groups = self.groups or trained.get("groups")
        parts = {name: with_groups(part, groups) for name, part in self.parts.items()}
        _, test = replace(self, groups=groups, parts=parts)._train_and_test(say, trained.get("split", DRAWN))
        say("evaluating on these only, which the training of this model left out; --all evaluates on every image")
        return test

    def _train_and_test(self, say: Say, split: str) -> tuple[Part, Part]:
        """Without a test part, sets a sixth of each class aside as one: at least one image, and always the same ones."""
        train = self.parts["train"]
        if "test" in self.parts:
            return train, self.parts["test"]
        total, counts = len(train), np.bincount(train.labels)
        if counts.max() < 2:
            raise DataError(
                f"{self.name} has no test part, and none can be set aside: expected at least two images of a class;"
                " evaluate needs no test part"
            )
        if split == FILES and has_files(train):
            return self._by_files(train, say)
        shares = shares_of_classes(counts, max(1, total // TEST_SHARE))
        shares = np.clip(shares, counts >= 2, np.maximum(counts - 1, 0))
        if train.groups is not None:
            kept, aside = set_groups_aside(train.labels, train.groups, shares, seed=0)
            if not len(aside):
                raise DataError(f"{self.name} has no test part, and no group of images can be set aside as one: {_MORE_GROUPS}")
            say(groups_line(f"{self.name} has no test part: set aside for testing", train, kept, aside))
            return train.of(kept), train.of(aside)
        kept, aside = set_aside(train.labels, shares, seed=0)
        say(f"{self._aside(len(aside), total)}, a sixth of each class and at least one image{self._exception(counts)}")
        return train.of(kept), train.of(aside)

    def _by_files(self, train: Part, say: Say) -> tuple[Part, Part]:
        """Sets about a sixth of each class aside, each file by its name."""
        kept, aside = set_files_aside(train, 1 / TEST_SHARE, self.groups, "test", seed=0, at_least_one=True)
        if not len(aside):
            raise DataError(f"{self.name} has no test part, and no group of images can be set aside as one: {_MORE_GROUPS}")
        if self.groups is not None:
            say(groups_line(f"{self.name} has no test part: set aside for testing", train, kept, aside))
        else:
            exception = self._exception(np.bincount(train.labels))
            say(f"{self._aside(len(aside), len(train))}, about a sixth of each class, each by its file's name{exception}")
        return train.of(kept), train.of(aside)

    def _aside(self, images: int, total: int) -> str:
        return f"{self.name} has no test part: {images} of its {total} images are set aside for testing"

    def _exception(self, counts: np.ndarray) -> str:
        single = [self.classes[label] for label in np.flatnonzero(counts == 1)]
        return f", except for {listed(single)}, whose only image is for training" if single else ""


def together(parts: list[Part]) -> Part:
    """All images of these parts as one."""
    if len(parts) == 1:
        return parts[0]
    names = None
    if all(part.names is not None for part in parts):
        names = tuple(name for part in parts for name in part.names or ())
    return Part(np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts]), names)
