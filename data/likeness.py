"""Images that are in two parts of a data set, or nearly: accuracy measured on them flatters."""

from collections.abc import Iterator

import numpy as np

from minisqx.data.dataset import Part
from minisqx.kernels import likeness

NAMED = 3  # pairs that a line names
MOST_PAIRS = 10_000_000_000  # about ten seconds


def likeness_lines(parts: dict[str, Part]) -> Iterator[str]:
    """A line for the training images that are in the validation or the test part, and one for those that nearly are."""
    described = {name: _described(part.images) for name, part in parts.items() if len(part)}
    for name in ("validation", "test"):
        if name not in described:
            continue
        part, train = parts[name], parts["train"]
        if len(part) * len(train) > MOST_PAIRS:
            yield f"near-duplicates: not looked for, among {len(train)} training and {len(part)} {name} images"
            continue
        found = np.empty(len(part), np.int64)
        likeness.nearest(found, *described[name], *described["train"])
        alike = np.flatnonzero(found >= 0)
        same = np.array([np.array_equal(part.images[at], train.images[found[at]]) for at in alike], bool)
        for chosen, what in ((alike[same], "are"), (alike[~same], "nearly are")):
            if len(chosen):
                yield f"{len(chosen)} of {len(part)} {name} images {what} training images, {_pairs(chosen, found, part, train)}"


def _described(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    grey, bits = np.empty((len(images), likeness.CELLS), np.uint8), np.empty(len(images), np.uint64)
    likeness.describe(grey, bits, images)
    return grey, bits


def _pairs(chosen: np.ndarray, found: np.ndarray, part: Part, train: Part) -> str:
    pairs = (f"{_name(part, at)} and {_name(train, found[at])}" for at in chosen[:NAMED])
    return f"such as {', '.join(pairs)}: accuracy on them flatters"


def _name(part: Part, at: int) -> str:
    return f"number {at}" if part.names is None else part.names[at]
