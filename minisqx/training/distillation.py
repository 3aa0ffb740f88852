"""Distillation: a network learns the probabilities of a larger one, its teacher, beside the labels (`--distill`).

With z its logits and t the teacher's for the same augmented image, p = softmax(z / T) and q = softmax(t / T), the loss is

    (1 - SHARE) cross-entropy(z, label) + SHARE T^2 KL(q || p),    T = TEMPERATURE

The factor T^2 keeps the gradient of the second part, T (p - q), as large as at T = 1. Source: Hinton, Vinyals and Dean,
"Distilling the Knowledge in a Neural Network" (2015), section 2.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from minisqx.checkpoint import Checkpoint
from minisqx.data.classes import likeness_line, listed, match_classes
from minisqx.data.loader import Batch
from minisqx.errors import CheckpointError, OptionError
from minisqx.inference.model import Model, load
from minisqx.kernels import loss
from minisqx.kernels.layout import Layout
from minisqx.machine.limits import size_text
from minisqx.machine.ranks import ALONE, Ranks
from minisqx.training.data import TrainingData
from minisqx.training.optim import cross_entropy

TEMPERATURE, SHARE = 4.0, 0.9
NEEDED = "the run learns from this model: put the file there, or give its place with --distill"


def load_teacher(name_or_path: str | None) -> Model | None:
    """The model, in float32; None without one. Raises CheckpointError for a model that can't be a teacher of any run."""
    if name_or_path is None:
        return None
    try:
        model = load(name_or_path)
        model.check_described()
    except CheckpointError as error:
        raise CheckpointError(f"distill {name_or_path!r}: {error} ({NEEDED})") from None
    if not all(np.isfinite(array).all() for array in model.state.values()):
        raise CheckpointError(f"distill {name_or_path!r}: its weights are not all finite numbers: train that model again")
    return replace(model, state={name: array.astype(np.float32) for name, array in model.state.items()})


def digest(teacher: Checkpoint) -> str:
    """SHA-256 of everything that a teacher's answers depend on: weights, network, classes, normalisation."""
    description = json.dumps([teacher.spec.to_dict(), teacher.classes, teacher.mean, teacher.std], sort_keys=True)
    return hashlib.sha256(f"{teacher.weights_sha256} {description}".encode()).hexdigest()


class Teacher:
    """A model as the teacher of a run on `data`. say: reports classes whose names differ in case or Unicode form.

    Raises OptionError if it has other classes or another image size.
    """

    def __init__(self, model: Model, data: TrainingData, say: Callable[[str], object], ranks: Ranks = ALONE) -> None:
        assert model.classes is not None and model.mean is not None and model.std is not None  # checked by `load_teacher`
        matched = match_classes(data.classes, model.classes)
        lacking = [name for name in data.classes if name not in matched]
        more = [name for name in model.classes if name not in matched.values()]
        if lacking or more:
            differences = ([f"it lacks {listed(lacking)}"] if lacking else []) + (
                [f"it has {listed(more)} beside"] if more else []
            )
            raise OptionError(
                f"distill {model.name!r}: expected a model with the classes of the data; {', and '.join(differences)}: train one"
                " on this data"
            )
        if model.spec.input_size != data.image_size:
            raise OptionError(
                f"distill {model.name!r}: its images are of {size_text(*model.spec.input_size)}, those of the data of"
                f" {size_text(*data.image_size)}: expected the same; give --image-size, or train the teacher on this data"
            )
        if (line := likeness_line(matched, f"those of the teacher {model.name!r}")) is not None:
            say(line)
        self.model, self.ranks = model, ranks
        self.described = {"name": model.name, "sha256": digest(model.checkpoint)}
        self._plan = model.network.plan()
        self._order = [model.classes.index(matched[name]) for name in data.classes]
        # From pixels that are normalised for the student to those normalised for the teacher.
        mean, std, own_mean, own_std = (np.array(each) for each in (data.mean, data.std, model.mean, model.std))
        self._scale, self._shift = (each.astype(np.float32)[:, None] for each in (std / own_std, (mean - own_mean) / own_std))

    def logits(self, batch: Batch) -> np.ndarray:
        """Of a batch's images, (N, classes), in the order of the data's classes. Each rank runs its own images."""
        layout = batch.layout
        mine = self.ranks.share(layout.chunks)
        images = sum(layout.images_in(chunk) for chunk in mine)
        found = np.empty((0, len(self._order)), np.float32)
        if images:
            pixels = batch.data[mine.start : mine.stop] * self._scale
            pixels += self._shift
            own = Layout(images, layout.height, layout.width, layout.itemsize, layout.images_per_chunk)
            found = self._plan.run(pixels, own)
            self.model.check_finite(found)
        return np.concatenate(self.ranks.everyones(found[:, self._order]))

    def compile(self) -> None:
        """Compiles what a step with a teacher calls beside what training calls."""
        logits = self._plan.run_images(np.zeros((1, 3, *self.model.spec.input_size), np.float32))
        distillation(logits, logits, np.zeros(1, np.int64))


def distillation(
    logits: np.ndarray, teacher: np.ndarray, labels: np.ndarray, class_weights: np.ndarray | None = None
) -> tuple[float, np.ndarray, float]:
    """The loss of this module's formula, a mean over the batch, its gradient (N, classes), and the labels' cross-entropy in it.

    logits, teacher: (N, classes), of one dtype. labels, class_weights: as of `cross_entropy`, which raises the same errors.
    """
    hard, dhard = cross_entropy(logits, labels, class_weights)
    weights = np.ones(len(labels)) if class_weights is None else np.asarray(class_weights, np.float64)[labels]
    dsoft = np.empty_like(dhard)
    soft = loss.softened_divergence(dsoft, logits, teacher, weights, TEMPERATURE)
    return (1 - SHARE) * hard + SHARE * soft, (1 - SHARE) * dhard + SHARE * dsoft, hard
