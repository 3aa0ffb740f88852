"""A data set in memory: its parts, what is checked of them, and how a validation part is drawn."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minisqx.checks import is_name
from minisqx.data.classes import composed
from minisqx.errors import DataError, OptionError
from minisqx.machine.limits import available, megabytes, size_text

Say = Callable[[str], None]

# All images are held in memory as uint8: a source that claims to have more is a mistake or an attack.
MAX_BYTES = 8 << 30
MAX_CLASSES = 100_000


def say_on_stderr(line: str) -> None:
    """The readers' default for their one-line messages."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Part:
    """Images uint8 (N, H, W, 3) and their labels int64 (N,).

    names: of each image, its file relative to the data's folder, or its place in an array, as in "test_images[7]"; None: unknown.
    groups: int64 (N,), equal numbers for images that must stay together when images are set aside; None: each image is alone.
    """

    images: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...] | None = None
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, indices: np.ndarray) -> "Part":
        """The images with these indices."""
        names = None if self.names is None else tuple(self.names[index] for index in indices)
        groups = None if self.groups is None else self.groups[indices]
        return Part(self.images[indices], self.labels[indices], names, groups)


@dataclass(frozen=True)
class Dataset:
    """Labelled images of one size, in a training and a test part, and perhaps a validation part.

    name: the display name ("CIFAR-10", "embedded shapes"), also in results.
    classes: names of the classes; a label is an index into them.
    validation: None if the data has no validation part of its own.
    skipped: a line for each file that was skipped because it is not a usable image.
    Raises DataError unless the parts have images of one size and labels of the classes.
    """

    name: str
    classes: tuple[str, ...]
    train: Part
    test: Part
    validation: Part | None = None
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_parts(self.name, self.classes, self.parts)

    @property
    def parts(self) -> dict[str, Part]:
        """The parts by name: "train", "validation" if there is one, "test"."""
        validation = {} if self.validation is None else {"validation": self.validation}
        return {"train": self.train} | validation | {"test": self.test}

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.train.images.shape[1:3]


def check_classes(name: str, classes: tuple[str, ...]) -> None:
    """Raises DataError unless `classes` are distinct printable names, at least one."""
    if not classes:
        raise DataError(f"{name}: the list of classes is empty; expected at least one class")
    if len(classes) > MAX_CLASSES:
        raise DataError(f"{name}: {len(classes)} classes, expected at most {MAX_CLASSES}")
    for label in classes:
        if not is_name(label):
            raise DataError(f"{name}: {str(label)[:100]!r} can't be the name of a class; expected printable text on one line")
    if len(set(classes)) < len(classes):
        twice = Counter(classes).most_common(1)[0][0]
        raise DataError(f"{name}: the class {twice[:100]!r} is listed twice; expected distinct names")
    forms = Counter(map(composed, classes))
    if len(forms) < len(classes):
        twice = forms.most_common(1)[0][0]
        raise DataError(f"{name}: the class {twice[:100]!r} is listed twice, in two Unicode forms; expected one: rename or merge")


def check_parts(name: str, classes: tuple[str, ...], parts: dict[str, Part]) -> None:
    """Raises DataError unless the parts have images of one size and labels of `classes`."""
    check_classes(name, classes)
    for part, content in parts.items():
        check_part(f"{name} ({part})", content.images, content.labels, len(classes))
        names, groups = content.names, content.groups
        if names is not None and len(names) != len(content):
            raise DataError(f"{name} ({part}): {len(names)} names for {len(content)} images; expected one per image")
        if groups is not None and (groups.dtype != np.int64 or groups.shape != content.labels.shape):
            raise DataError(f"{name} ({part}): groups are {groups.dtype} {groups.shape}, expected int64 ({len(content)},)")
    (first, size), *others = ((part, content.images.shape[1:3]) for part, content in parts.items())
    for part, other in others:
        if other != size:
            raise DataError(f"{name}: {first} images are {size_text(*size)}, {part} images {size_text(*other)}: use one size")


def check_part(name: str, images: np.ndarray, labels: np.ndarray, classes: int) -> None:
    """Raises DataError unless `images` are uint8 (N, H, W, 3) with N > 0 and `labels` int64 (N,) from 0 to `classes` - 1."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise DataError(f"{name}: images are {images.dtype} {images.shape}, expected uint8 (N, height, width, 3)")
    if min(images.shape) < 1:
        raise DataError(f"{name}: there is no image (shape {images.shape}); expected at least one")
    if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        raise DataError(f"{name}: labels are {labels.dtype} {labels.shape}, expected int64 ({len(images)},), one per image")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        first = wrong[0]
        raise DataError(f"{name}: image {first} has the label {labels[first]}; expected 0 to {classes - 1} for {classes} classes")


def check_bytes(name: str, images: int, size: tuple[int, int]) -> None:
    """Raises DataError if `images` of (height, width) `size` would exceed a data set's memory limit."""
    needed = images * size[0] * size[1] * 3
    if needed > MAX_BYTES:
        raise DataError(
            f"{name}: {images} images of {size_text(*size)} take {megabytes(needed, up=True)} of memory, at most"
            f" {megabytes(MAX_BYTES)} are allowed: use a smaller image size (--image-size) or fewer images"
        )
    check_memory(name, needed)


def check_memory(name: str, image_bytes: int) -> None:
    """Raises DataError if memory can't hold images of `image_bytes` twice: as read, and as divided into parts."""
    found = available()
    if found is not None and 2 * image_bytes > found[0]:
        raise DataError(
            f"{name}: the images take {megabytes(2 * image_bytes, up=True)} of memory while they are read and divided, and"
            f" {megabytes(found[0])} are {found[1]}: use a smaller image size (--image-size) or fewer images"
        )


def split_validation(labels: np.ndarray, validation: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sets `validation` images aside, the same share of every class, drawn with `seed`.

    labels: int64 (N,). Returns the indices of the remaining images and of those set aside, int64, each in ascending order.
    Raises OptionError unless 0 <= validation < N.
    """
    if not 0 <= validation < len(labels):
        raise OptionError(
            f"a validation split of {validation} images: expected {f'0 to {len(labels) - 1}' if len(labels) > 1 else 0} of"
            f" {len(labels)} training image{'s' * (len(labels) > 1)}, so that at least one is left for training"
        )
    return set_aside(labels, shares_of_classes(np.bincount(labels), validation), seed)


def shares_of_classes(counts: np.ndarray, total: int) -> np.ndarray:
    """How many of `total` images each class gives, int64 (classes,), in proportion to its `counts`."""
    shares, rests = np.divmod(total * counts, counts.sum())
    # The rest after rounding down goes to the largest remainders; in a tie, to the first class.
    shares[np.argsort(-rests, kind="stable")[: total - shares.sum()]] += 1
    return shares


def set_aside(labels: np.ndarray, shares: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sets `shares[c]` random images of each class c aside. Returns the indices of the remaining ones and of those set aside."""
    from minisqx.kernels.counters import VALIDATION, permutation, stream

    order = permutation(stream(seed, VALIDATION), len(labels))
    aside = np.zeros(len(labels), bool)
    for label, share in enumerate(shares):
        members = order[labels[order] == label]
        aside[members[:share]] = True
    return np.flatnonzero(~aside), np.flatnonzero(aside)
