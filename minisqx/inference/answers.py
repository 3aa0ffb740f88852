"""A model's answers for labelled images, and what follows from them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

INTERVALS = 15  # of a probability, for the calibration


def recalls(right: np.ndarray, images: np.ndarray) -> list[float | None]:
    """The share of each class's images that are named right; None for a class without images. right, images: counts."""
    return [float(correct / total) if total else None for correct, total in zip(right, images)]


def balanced(recalls: list[float | None]) -> float:
    """Balanced accuracy: the mean recall of the classes that have images, 0 to 1."""
    return float(np.mean([recall for recall in recalls if recall is not None]))


@dataclass(frozen=True, eq=False)
class Answers:
    """classes: names. labels, predicted: int64 (N,), the true and the predicted class of each image. probability: float64 (N,),
    of the predicted class.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray

    @property
    def images(self) -> int:
        return len(self.labels)

    @cached_property
    def right(self) -> np.ndarray:
        """bool (N,): whether the predicted class is the true one."""
        return self.labels == self.predicted

    @property
    def correct(self) -> int:
        return int(np.count_nonzero(self.right))

    @property
    def accuracy(self) -> float:
        """The share of images whose predicted class is the true one, 0 to 1."""
        return self.correct / self.images

    @cached_property
    def confusion(self) -> np.ndarray:
        """int64 (classes, classes): counts of images by true class (row) and predicted class (column)."""
        counts = np.zeros((len(self.classes),) * 2, np.int64)
        np.add.at(counts, (self.labels, self.predicted), 1)
        return counts

    @property
    def class_accuracy(self) -> list[float | None]:
        """The accuracy on the images of each class, its recall; None for a class without images."""
        return recalls(self.confusion.diagonal(), self.confusion.sum(axis=1))

    @property
    def balanced_accuracy(self) -> float:
        """The mean of the accuracies of all classes with images, 0 to 1: a rare class counts as much as a frequent one."""
        return balanced(self.class_accuracy)

    def intervals(self) -> list[tuple[float, float, int]]:
        """Mean probability, accuracy and number of images for each interval of the probability that has images."""
        places = np.minimum((self.probability * INTERVALS).astype(np.int64), INTERVALS - 1)
        chosen = [places == place for place in range(INTERVALS)]
        return [(self.probability[some].mean(), self.right[some].mean(), int(some.sum())) for some in chosen if some.any()]

    @property
    def calibration_error(self) -> float:
        """The expected calibration error, 0 to 1: how far the largest probability is from the accuracy, on average over images.

        Source: Guo et al., "On Calibration of Modern Neural Networks" (2017), equation 3, with 15 intervals.
        """
        return float(sum(count * abs(sure - right) for sure, right, count in self.intervals()) / self.images)

    def mistakes(self) -> np.ndarray:
        """Indices of the images whose predicted class is not the true one, the surest mistake first."""
        wrong = np.flatnonzero(~self.right)
        return wrong[np.argsort(-self.probability[wrong], kind="stable")]
