"""`ShallowSqueezeNextClassifier`: training and inference as a classifier of scikit-learn, with the extra `sklearn`.

Its parameters are the options of `minisqx train`, but for those of data on disk; `fit` is the same training.
"""

import inspect
import math
from dataclasses import fields, replace
from typing import Any

import numpy as np

from minisqx.data.loader import Loader
from minisqx.errors import MissingExtraError, OptionError, TrainingError
from minisqx.inference.model import Model, model_of
from minisqx.machine.threads import thread_count, use_threads
from minisqx.network import Network
from minisqx.report.content import is_over
from minisqx.training.data import channel_statistics, training_data_of
from minisqx.training.optim import SGD, cross_entropy
from minisqx.training.options import TrainingOptions
from minisqx.training.recipes import MODERN
from minisqx.training.run_folder import NoFolder
from minisqx.training.trainer import Trainer

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, check_random_state, column_or_1d, validate_data
except ImportError as error:
    raise MissingExtraError("scikit-learn is not installed: pip install 'minisqx[sklearn]'") from error

# Options of a run on data on disk, or from other weights, or with another name here (seed).
LEFT_OUT = {
    "model",
    "data",
    "image_size",
    "skip_bad_images",
    "groups",
    "split",
    "recipe",
    "init",
    "freeze",
    "distill",
    "restarts",
    "out",
    "seed",
}
# For some hundred images, or rows of numbers. None would be a value of the modern recipe.
DEFAULTS: dict[str, Any] = {"epochs": 30, "batch_size": 32, "lr": 0.1, "weight_decay": 5e-4, "schedule": "one-cycle"}
DEFAULTS |= {"augment": "none", "validation": 0.0}
OWN: dict[str, Any] = {"image_shape": None, "random_state": None, "verbose": False}
OPTIONS = tuple(field.name for field in fields(TrainingOptions) if field.name not in LEFT_OUT)
SMALLEST = 8  # pixels: the side to which the image of a short row is enlarged


class ShallowSqueezeNextClassifier(ClassifierMixin, BaseEstimator):
    """A Shallow SqueezeNext that classifies images, as an estimator of scikit-learn.

    Parameters are the options of `minisqx.train` under the same names, such as width=0.2, blocks, epochs, lr; 30 epochs with the
    one-cycle schedule in batches of 32, no augmentation and no validation images by default. Besides:

    image_shape: the (height, width) or (height, width, 3) of images that come as flat rows. None: a row is a grey image, the
        smallest square that holds it, with 0 for the pixels that it lacks.
    random_state: an int, a RandomState, or None for other weights in each fit. With an int, equal data gives equal bits.
    verbose: whether `fit` prints a line for each epoch.

    X is an array of images (N, height, width, 3), of grey ones (N, height, width), or of rows (N, numbers): uint8, or any other
    numbers, whose least and greatest in `fit` become black and white. With validation images (`validation=0.1`), the weights of
    the best epoch are kept, and probabilities are calibrated.

    After fit: classes_, model_ (the `Model`), history_ (a dictionary for each epoch), image_shape_, pixel_range_, n_features_in_.
    """

    def __init__(self, **parameters: Any) -> None:
        for name, value in (DEFAULT_PARAMETERS | parameters).items():
            setattr(self, name, value)
        if unknown := set(parameters) - set(DEFAULT_PARAMETERS):
            raise TypeError(f"unexpected parameters {', '.join(sorted(unknown))}: expected {', '.join(DEFAULT_PARAMETERS)}")

    def fit(self, X, y) -> "ShallowSqueezeNextClassifier":
        """Trains a new network. X: images. y: their labels, of any type. Raises OptionError, which is a ValueError."""
        images, labels = self._first(X, y, None)
        options = self._options(len(images))
        data = training_data_of("arrays", self._names(), images, labels, options)
        say = print if self.verbose else _nothing
        use_threads(*thread_count(options.threads))
        folder = NoFolder()
        trainer = Trainer(options, data, folder, "", say)
        while not is_over(options.to_dict(), trainer.state.history):
            trainer.train_batches(len(trainer.loader))
        assert folder.best is not None
        self.model_, self.history_ = model_of(trainer.spec.name, folder.best), trainer.state.history
        self._learning: tuple[Network, SGD] | None = None
        return self

    def partial_fit(self, X, y, classes=None) -> "ShallowSqueezeNextClassifier":
        """Trains one epoch more on these images, at a constant learning rate, or the first one.

        classes: all labels that will occur, in the first call; None: those in y. The first call's images say how pixels are
        normalised.
        """
        if not hasattr(self, "model_"):
            images, labels = self._first(X, y, classes)
            self._begin(images)
        else:
            images, y = self._checked(X, y, reset=False)
            labels = self._labels(y, self.classes_)
            if classes is not None and not np.array_equal(np.unique(classes), self.classes_):
                raise OptionError(f"classes {classes!r}: expected those of the first call, {self.classes_.tolist()}")
        options = self._options(len(images))
        use_threads(*thread_count(options.threads))
        network, optimizer = self._learner(options)
        assert self.model_.mean is not None and self.model_.std is not None
        loader = Loader(
            images, labels, options.batch_size, mean=self.model_.mean, std=self.model_.std, augment=options.augment,
            seed=network.seed, larger_chunks=network.spec.larger_chunks,
        )  # fmt: skip
        for batch in loader.epoch(len(self.history_)):
            loss, dlogits = cross_entropy(network.forward(batch, training=True), batch.labels)
            if not math.isfinite(loss):
                raise TrainingError(f"the loss is {loss}: start again with a lower lr than {options.lr:g}")
            network.backward(dlogits)
            optimizer.step()
        self.history_ = [*self.history_, {"epoch": len(self.history_) + 1, "lr": options.lr}]
        made = self.model_
        self.model_ = Model(made.name, made.spec, network.state_dict(), made.classes, made.mean, made.std, {}, {})
        return self

    def predict_proba(self, X) -> np.ndarray:
        """Probabilities float64 (N, classes), in the order of `classes_`."""
        check_is_fitted(self)
        images, _ = self._checked(X, None, reset=False)
        return self.model_.probabilities(images)

    def predict(self, X) -> np.ndarray:
        """The label of each image."""
        likeliest = self.predict_proba(X).argmax(axis=1)
        return self.classes_[likeliest]

    def _first(self, X, y, classes) -> tuple[np.ndarray, np.ndarray]:
        """The images and labels int64 of the first call, which says what the classes and shapes are."""
        images, y = self._checked(X, y, reset=True)
        self.classes_ = np.unique(y if classes is None else classes)
        return images, self._labels(y, self.classes_)

    def _checked(self, X, y, reset: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """X as images uint8 of the network's size; reset: whether its shape and its range of values are now those to come."""
        if y is None and not reset:
            X = validate_data(self, X, reset=False, allow_nd=True)
        else:
            least = 2 if reset else 1  # batch norm needs two values
            X, y = validate_data(self, X, y, reset=reset, allow_nd=True, ensure_min_samples=least)
            check_classification_targets(y)
            y = column_or_1d(y)
        images = self._grey_or_colour(X)
        if reset:
            self.pixel_range_ = (0.0, 255.0) if images.dtype == np.uint8 else (float(images.min()), float(images.max()))
            self.image_shape_ = images.shape[1:]
        elif images.shape[1:] != self.image_shape_:
            raise OptionError(f"images of shape {images.shape[1:]}: expected {self.image_shape_}, as in fit")
        if images.dtype != np.uint8 or self.pixel_range_ != (0.0, 255.0):
            low, high = self.pixel_range_
            shares = (images.astype(np.float64) - low) / ((high - low) or 1.0)
            images = np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)
        return np.ascontiguousarray(images), y

    def _grey_or_colour(self, X: np.ndarray) -> np.ndarray:
        """X as (N, height, width, 3), of its own type."""
        if X.ndim == 2:
            X = self._unrolled(X)
        if X.ndim == 3:
            X = X[..., None]
        if X.ndim != 4 or X.shape[3] not in (1, 3):
            raise OptionError(f"X of shape {X.shape}: expected (N, height, width, 3), (N, height, width) or (N, numbers)")
        return np.broadcast_to(X, (*X.shape[:3], 3))

    def _unrolled(self, rows: np.ndarray) -> np.ndarray:
        """Rows (N, numbers) as images."""
        shape, numbers = self.image_shape, rows.shape[1]
        if shape is not None:
            if not isinstance(shape, (tuple, list)) or len(shape) not in (2, 3) or math.prod(shape) != numbers:
                raise OptionError(f"image_shape {shape!r} for rows of {numbers}: expected (height, width) or (height, width, 3)")
            return rows.reshape(-1, *shape)
        side = math.isqrt(numbers - 1) + 1
        square = np.zeros((len(rows), side * side), rows.dtype)
        square[:, :numbers] = rows
        times = -(-SMALLEST // side)
        return square.reshape(-1, side, side).repeat(times, axis=1).repeat(times, axis=2)

    def _labels(self, y, classes: np.ndarray) -> np.ndarray:
        places = np.searchsorted(classes, y)
        known = classes[np.minimum(places, len(classes) - 1)] == y
        if not np.all(known):
            raise OptionError(f"the label {np.asarray(y)[~known].tolist()[0]!r} is none of the classes {classes.tolist()}")
        return places.astype(np.int64)

    def _names(self) -> tuple[str, ...]:
        """The names of the classes for the `Model`, whose files have text."""
        return tuple(map(str, self.classes_))

    def _options(self, images: int) -> TrainingOptions:
        """The options of a run on so many images."""
        given = {name: getattr(self, name) for name in OPTIONS}
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        options = TrainingOptions(**given, recipe=MODERN, seed=seed).settled(images, own=True)
        # A last batch of one image is too few for batch norm, and the folds of a cross-validation have any size.
        while options.batch_size > 2 and (images - 1) % options.batch_size == 0:
            options = replace(options, batch_size=options.batch_size - 1)
        return options

    def _begin(self, images: np.ndarray) -> None:
        """An untrained model for `partial_fit`."""
        options = self._options(len(images))
        spec = options.network(len(self.classes_), images.shape[1:3])
        network, (mean, std) = Network(spec, seed=options.seed), channel_statistics(images)
        self.model_ = Model(spec.name, spec, network.state_dict(), self._names(), mean, std, {}, {})
        self.history_ = []
        self._learning = None

    def _learner(self, options: TrainingOptions) -> tuple[Network, SGD]:
        """The network and the optimizer that `partial_fit` goes on with."""
        if self._learning is None:
            network = Network(self.model_.spec, seed=options.seed)
            network.load_state_dict(self.model_.state)
            decay = options.weight_decay
            self._learning = network, SGD(network, options.lr, options.momentum, options.nesterov, decay)
        return self._learning


DEFAULT_PARAMETERS = {name: getattr(TrainingOptions, name) for name in OPTIONS} | DEFAULTS | OWN


def _nothing(line: str) -> None:
    pass


def _signed() -> inspect.Signature:
    """The signature from which scikit-learn learns the parameters."""
    kind = inspect.Parameter.KEYWORD_ONLY
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return inspect.Signature([own, *(inspect.Parameter(name, kind, default=usual) for name, usual in DEFAULT_PARAMETERS.items())])


ShallowSqueezeNextClassifier.__init__.__signature__ = _signed()  # type: ignore[attr-defined]
