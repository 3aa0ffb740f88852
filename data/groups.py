"""Images that belong together, such as the frames of one film: which they are, and how some groups are set aside as a whole.

A network that has seen one frame of a film knows the next one. So a random choice of validation images flatters; a choice of
whole groups doesn't.
"""

import re

import numpy as np

from minisqx.data import FOLDER
from minisqx.data.dataset import Part


def with_groups(part: Part, way: str | None) -> Part:
    """The part with its groups numbered; as it is if `way` is None or its images have no files."""
    if way is None or part.names is None:
        return part
    keys = [group_of(image, way) for image in part.names]
    numbers = {key: number for number, key in enumerate(sorted(set(keys)))}
    return Part(part.images, part.labels, part.names, np.array([numbers[key] for key in keys], np.int64))


def group_of(image: str, way: str) -> str:
    """The group of an image, by the path of its file below the data's folder."""
    *folders, file = image.split("/")
    if way == FOLDER:
        return folders[-1]
    stem = file.rpartition(".")[0] or file
    return re.sub(r"[ _.-]*\d+$", "", stem)


def set_groups_aside(labels: np.ndarray, groups: np.ndarray, shares: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Sets whole groups aside, so that about `shares[c]` images of each class c are.

    Groups come in an order drawn with `seed`; one is set aside if that brings the counts nearer to `shares` and leaves images of
    each class. Returns the indices of the remaining images and of those set aside, int64, each in ascending order.
    """
    from minisqx.kernels.counters import VALIDATION, permutation, stream

    numbers, group_of = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(numbers), len(shares)), np.int64)
    np.add.at(counts, (group_of, labels), 1)
    wanted, left = shares.astype(np.int64), counts.sum(axis=0)
    aside = np.zeros(len(numbers), bool)
    for group in permutation(stream(seed, VALIDATION), len(numbers)):
        own = counts[group]
        useful, too_many = np.minimum(own, np.maximum(wanted, 0)).sum(), (own - np.maximum(wanted, 0)).clip(0).sum()
        if useful > too_many and ((left - own)[own > 0] > 0).all():
            aside[group] = True
            wanted, left = wanted - own, left - own
    return np.flatnonzero(~aside[group_of]), np.flatnonzero(aside[group_of])


def groups_line(what: str, part: Part, kept: np.ndarray, aside: np.ndarray) -> str:
    """One line for a person: how many groups were set aside. part: with groups."""
    assert part.groups is not None
    total, chosen = len(np.unique(part.groups)), len(np.unique(part.groups[aside]))
    return f"{what}: {len(aside)} images, {chosen} of {total} groups as a whole; {len(kept)} images are left"
