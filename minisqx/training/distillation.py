"""Distillation: a network learns the probabilities of a larger one, its teacher, beside the labels (`--distill`).

With z its logits and t the teacher's for the same augmented image, p = softmax(z / T) and q = softmax(t / T), the loss is

    (1 - SHARE) cross-entropy(z, label) + SHARE T^2 KL(q || p),    T = TEMPERATURE

The factor T^2 keeps the gradient of the second part, T (p - q), as large as at T = 1. Source: Hinton, Vinyals and Dean,
"Distilling the Knowledge in a Neural Network" (2015), section 2.
"""

import numpy as np

from minisqx.data.classes import listed
from minisqx.data.loader import Batch
from minisqx.errors import OptionError
from minisqx.inference.model import load
from minisqx.kernels import loss
from minisqx.kernels.layout import Layout
from minisqx.machine.ranks import ALONE, Ranks
from minisqx.training.data import TrainingData
from minisqx.training.optim import cross_entropy

TEMPERATURE, SHARE = 4.0, 0.9


class Teacher:
    """The model `name_or_path` as a teacher on `data`. Raises OptionError if it has other classes or another image size."""

    def __init__(self, name_or_path: str, data: TrainingData, ranks: Ranks = ALONE) -> None:
        model = load(name_or_path)
        model.check_described()
        assert model.classes is not None and model.mean is not None and model.std is not None
        if set(model.classes) != set(data.classes):
            raise OptionError(
                f"distill {name_or_path!r}: its classes are {listed(list(model.classes))}, those of the data"
                f" {listed(list(data.classes))}: expected the same"
            )
        if model.spec.input_size != data.image_size:
            (height, width), (own_height, own_width) = data.image_size, model.spec.input_size
            raise OptionError(
                f"distill {name_or_path!r}: its images have {own_height} x {own_width} pixels, those of the data {height} x"
                f" {width}: expected the same"
            )
        self.model, self.ranks = model, ranks
        self._plan = model.network.plan()
        self._order = [model.classes.index(name) for name in data.classes]
        # From pixels that are normalised for the student to those normalised for the teacher.
        mean, std, own_mean, own_std = (np.array(each) for each in (data.mean, data.std, model.mean, model.std))
        self._scale, self._shift = (each.astype(np.float32)[:, None] for each in (std / own_std, (mean - own_mean) / own_std))

    @property
    def described(self) -> dict[str, str]:
        """For config.json."""
        return {"name": self.model.name, "weights_sha256": self.model.checkpoint.weights_sha256}

    def logits(self, batch: Batch) -> np.ndarray:
        """Of a batch's images, (N, classes), in the order of the data's classes. Each rank runs its own images."""
        layout = batch.layout
        mine = self.ranks.share(layout.chunks)
        images = sum(layout.images_in(chunk) for chunk in mine)
        found = np.empty((0, len(self._order)), np.float32)
        if images:
            own = Layout(images, layout.height, layout.width, layout.itemsize, layout.images_per_chunk)
            found = self._plan.run(batch.data[mine.start : mine.stop] * self._scale + self._shift, own)
            self.model.check_finite(found)
        return np.concatenate(self.ranks.everyones(found[:, self._order]))


def distillation(
    logits: np.ndarray, teacher: np.ndarray, labels: np.ndarray, class_weights: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """The loss of this module's formula, a mean over the batch, and its gradient (N, classes).

    logits, teacher: (N, classes), of one dtype. labels, class_weights: as of `cross_entropy`, which raises the same errors.
    """
    hard, dhard = cross_entropy(logits, labels, class_weights)
    weights = np.ones(len(labels)) if class_weights is None else np.asarray(class_weights, np.float64)[labels]
    dsoft = np.empty_like(dhard)
    soft = loss.softened_divergence(dsoft, logits, teacher, weights, TEMPERATURE)
    return (1 - SHARE) * hard + SHARE * soft, (1 - SHARE) * dhard + SHARE * dsoft
