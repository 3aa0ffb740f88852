"""A model's answer for an image: the probability of each class, and what follows from them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minisqx.checks import is_whole, plain, require
from minisqx.kernels import softmax as kernels
from minisqx.kernels.compiler.jit import bound


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """A model's answer for one image.

    probabilities: float64 (classes,), read-only. classes: their names. threshold: the least probability of a confident answer.
    """

    probabilities: np.ndarray
    classes: tuple[str, ...]
    threshold: float = 0.0

    def __setstate__(self, state: dict) -> None:
        probabilities = np.array(state["probabilities"])
        probabilities.flags.writeable = False  # a copied array forgets it
        vars(self).update(state, probabilities=probabilities)

    @property
    def index(self) -> int:
        """Number of the most probable class."""
        return int(self.probabilities.argmax())

    @property
    def label(self) -> str:
        """Name of the most probable class."""
        return self.classes[self.index]

    @property
    def probability(self) -> float:
        """Probability of that class, 0 to 1."""
        return float(self.probabilities[self.index])

    @property
    def is_confident(self) -> bool:
        """Whether the probability of the most probable class reaches the threshold. Without one, it always does."""
        return self.probability >= self.threshold

    def topk(self, k: int) -> list[tuple[str, float]]:
        """The `k` most probable classes as (label, probability), the most probable first; in a tie the lower number is first."""
        k, most = plain(k), len(self.classes)
        require(is_whole(k, 1, most), "topk", k, f"a whole number from 1 to {most}, the number of classes")
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.classes[index], float(self.probabilities[index])) for index in order]

    def __str__(self) -> str:
        best, *others = (f"{label} {100 * share:.1f} %" for label, share in self.topk(min(3, len(self.classes))))
        text = f"{best} ({', '.join(others)})" if others else best
        return text if self.is_confident else f"not sure: {text}"

    def _repr_html_(self) -> str:
        from minisqx import html

        doubt = "" if self.is_confident else f"not sure: below the threshold of {100 * self.threshold:g} %"
        return html.heading(self.label, doubt) + html.bars(self.topk(min(5, len(self.classes))))

    def __repr__(self) -> str:
        return f"Prediction(label={self.label!r}, index={self.index}, probability={self.probability:.4f})"


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray | None:
    """Probabilities float64 (N, classes), read-only, of logits (N, classes), contiguous; None unless all of them are finite.

    temperature: the logits are divided by it: above 1, probabilities are closer together.
    """
    shift, normalise = _code(logits.dtype)
    powers = np.empty(logits.shape)
    if not shift(powers, logits):
        return None
    if temperature != 1:
        powers /= temperature
    np.exp(powers, powers)
    normalise(powers, np.add.reduce(powers, 1))
    powers.setflags(write=False)
    return powers


@functools.cache
def _code(dtype) -> tuple[Callable, Callable]:
    """The compiled kernels `shift` and `normalise` for logits of a dtype."""
    powers = np.empty((1, 1))
    return bound(kernels.shift, (powers, np.empty((1, 1), dtype))), bound(kernels.normalise, (powers, powers[0]))
