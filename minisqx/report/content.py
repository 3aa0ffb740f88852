"""What a report shows of a run, as plain values."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from minisqx.spec import NetworkSpec

INTERVALS = 15  # of a probability, for the calibration


@dataclass(frozen=True, eq=False)
class Measured:
    """A network's answers for one part of the data.

    part: "validation" or "test". images: uint8 (N, H, W, 3). names: of the images. labels: int64 (N,), the true classes.
    probabilities: float64 (N, classes).
    """

    part: str
    images: np.ndarray
    names: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray

    @cached_property
    def predicted(self) -> np.ndarray:
        return self.probabilities.argmax(axis=1)

    @cached_property
    def probability(self) -> np.ndarray:
        """Of the predicted class."""
        return self.probabilities.max(axis=1)

    @cached_property
    def right(self) -> np.ndarray:
        return self.predicted == self.labels

    @cached_property
    def confusion(self) -> np.ndarray:
        """int64 (classes, classes): counts of images by true class (row) and predicted class (column)."""
        counts = np.zeros((self.probabilities.shape[1],) * 2, np.int64)
        np.add.at(counts, (self.labels, self.predicted), 1)
        return counts

    def mistakes(self, count: int) -> np.ndarray:
        """Indices of the surest mistakes."""
        wrong = np.flatnonzero(~self.right)
        return wrong[np.argsort(-self.probability[wrong], kind="stable")][:count]

    def intervals(self) -> list[tuple[float, float, int]]:
        """Mean probability, accuracy and number of images for each interval of the probability that has images."""
        places = np.minimum((self.probability * INTERVALS).astype(np.int64), INTERVALS - 1)
        chosen = [places == place for place in range(INTERVALS)]
        return [(self.probability[some].mean(), self.right[some].mean(), int(some.sum())) for some in chosen if some.any()]

    @property
    def calibration_error(self) -> float:
        """The expected calibration error, 0 to 1 (Guo et al. 2017, equation 3)."""
        return sum(count * abs(sure - right) for sure, right, count in self.intervals()) / len(self.labels)


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
        return len(self.history) >= self.epochs
