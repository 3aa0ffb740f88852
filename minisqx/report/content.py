"""What a report shows of a run, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minisqx.inference.answers import Answers
from minisqx.spec import NetworkSpec


def best_epoch(history: list[dict]) -> int:
    """The epoch, from 1, with the highest validation accuracy, of several such the one with the lowest validation loss; without
    validation images the last one.

    Of few images many epochs name all right, and the first of these is rarely the best.
    """
    if history[-1]["validation_accuracy"] is None:
        return len(history)
    return max(range(len(history)), key=lambda at: (history[at]["validation_accuracy"], -history[at]["validation_loss"])) + 1


def is_over(options: Mapping[str, Any], history: list[dict]) -> bool:
    """Whether a run has come to its end: the planned one, or that of its patience. options: those of its config."""
    done, patience = len(history), options.get("patience")
    if done >= options["epochs"]:
        return True
    if not patience or not history:
        return False
    begun = max([0, *(epoch for epoch in options.get("restarts") or () if epoch <= done)])
    return done - max(best_epoch(history), begun) >= patience


@dataclass(frozen=True, eq=False)
class Measured(Answers):
    """A network's answers for one part of the data.

    part: "validation" or "test". pixels: uint8 (N, H, W, 3), the images. names: of the images. probabilities: float64 (N,
    classes).
    """

    part: str
    pixels: np.ndarray
    names: tuple[str, ...]
    probabilities: np.ndarray


@dataclass(frozen=True, eq=False)
class Content:
    """A run, finished or not.

    spec: the network. classes: names. history: the rows of history.csv. config: the content of config.json. images: the number of
    images in each class (list) of each part (name). notes: lines about the data, such as near-copies in two parts.
    """

    spec: NetworkSpec
    classes: tuple[str, ...]
    history: list[dict]
    config: dict
    images: dict[str, list[int]]
    notes: tuple[str, ...]
    measured: Measured

    @property
    def epochs(self) -> int:
        """The planned number."""
        return self.config["options"]["epochs"]

    @property
    def is_finished(self) -> bool:
        return is_over(self.config["options"], self.history)
