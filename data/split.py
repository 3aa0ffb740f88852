"""Which files of an image folder are set aside for testing or validation: each by its own name, whatever other files there are.

A hash of the name gives a file its place between 0 and 1, and those below the share are set aside. So another photograph moves
no other one into another part, and a model that was trained before was not trained on any image that is set aside now. The price
is that the counts are near the shares, not equal to them.
"""

import hashlib

import numpy as np

from minisqx.data.dataset import Part
from minisqx.data.groups import group_of


def has_files(part: Part) -> bool:
    """Whether the images are files of class folders, not places in an array."""
    return part.names is not None and all("/" in name for name in part.names)


def set_files_aside(
    part: Part, share: float, groups: str | None, purpose: str, seed: int, at_least_one: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Sets about this share of each class aside, by file, or with `groups` by group: a group stays together.

    purpose, seed: other ones give other choices. at_least_one: whether a class of any size gives an image; else a class whose
    share is less than a third of an image or group may give none. Of few images or groups, chance could set most aside: a class
    gives at most half of them. Returns the indices of the remaining images and of those set aside, int64, each in ascending
    order.
    """
    names = part.names or ()
    units, unit_of = np.unique([name if groups is None else group_of(name, groups) for name in names], return_inverse=True)
    places = np.array([_place(f"{purpose} {seed} {unit}") for unit in units])
    has = np.zeros((len(units), int(part.labels.max()) + 1), bool)  # whether a unit has images of a class
    has[unit_of, part.labels] = True
    aside = places < share
    in_order = np.argsort(places, kind="stable")
    for label in range(has.shape[1]):
        own = in_order[has[in_order, label]]
        chosen = own[aside[own]]
        aside[chosen[len(own) // 2 :]] = False
    for label in range(has.shape[1]):
        own = in_order[has[in_order, label]]
        if len(own) < 2 or aside[own].any() or not (at_least_one or share * len(own) > 1 / 3):
            continue
        left = has[~aside].sum(axis=0)
        fitting = [unit for unit in own if (left[has[unit]] > 1).all()]
        if fitting:
            aside[fitting[0]] = True
    return np.flatnonzero(~aside[unit_of]), np.flatnonzero(aside[unit_of])


def _place(key: str) -> float:
    """From 0 up to, but not including, 1."""
    digest = hashlib.sha256(key.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
