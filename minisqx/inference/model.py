"""Using a trained network: `load` it, `infer` what an image shows."""

import functools
import os
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import as_file
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

import numpy as np

from minisqx.checkpoint import load_checkpoint
from minisqx.checks import is_whole, plain, require
from minisqx.errors import CheckpointError, ImageError, OptionError
from minisqx.images.load import ImageSource, load_image
from minisqx.plan import Plan
from minisqx.spec import NetworkSpec, zoo

if TYPE_CHECKING:
    from minisqx.network import Network

IMAGES_AT_ONCE = 128


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What a model makes of one image: `probabilities`, float64 (classes,), read-only, and what follows from them."""

    probabilities: np.ndarray
    classes: tuple[str, ...]

    def __setstate__(self, state: dict) -> None:
        probabilities = np.array(state["probabilities"])
        probabilities.flags.writeable = False  # which a copied array forgets
        vars(self).update(state, probabilities=probabilities)

    @property
    def index(self) -> int:
        """Number of the likeliest class."""
        return int(self.probabilities.argmax())

    @property
    def label(self) -> str:
        """Name of the likeliest class."""
        return self.classes[self.index]

    @property
    def probability(self) -> float:
        """Of the likeliest class, 0 to 1."""
        return float(self.probabilities[self.index])

    def topk(self, k: int) -> list[tuple[str, float]]:
        """The `k` likeliest classes as (label, probability), the likeliest first; at a tie the one with the lower number."""
        k, most = plain(k), len(self.classes)
        require(is_whole(k, 1, most), "topk", k, f"a whole number from 1 to {most}, the number of classes")
        order = np.argsort(-self.probabilities, kind="stable")[:k]
        return [(self.classes[index], float(self.probabilities[index])) for index in order]

    def __str__(self) -> str:
        best, *others = (f"{label} {100 * share:.1f} %" for label, share in self.topk(min(3, len(self.classes))))
        return f"{best} ({', '.join(others)})" if others else best

    def __repr__(self) -> str:
        return f"Prediction(label={self.label!r}, index={self.index}, probability={self.probability:.4f})"


T = TypeVar("T")


class _Once(Generic[T]):
    """A property that is made at its first use. Unlike `cached_property` in Python 3.11 it has no lock, which a fork at the wrong
    moment would leave locked in the child; threads that come at once may each make one, and all get the same.
    """

    def __init__(self, make: Callable[..., T]):
        self._make, self.__doc__ = make, make.__doc__

    def __get__(self, instance, owner=None) -> T:
        return instance.__dict__.setdefault(self._make.__name__, self._make(instance))


@dataclass(frozen=True, eq=False)
class Model:
    """A network with all that is needed to use it.

    spec, state, classes, mean, std, metrics, provenance: as in `Checkpoint`. name: a shipped model's name, or the file's.
    `infer` takes the network as it is on the first call; later changes of its weights don't count. A copy, in this process or
    another, gives the same bits.
    """

    name: str
    spec: NetworkSpec = field(repr=False)
    state: dict[str, np.ndarray] = field(repr=False)
    classes: tuple[str, ...] | None = field(repr=False)
    mean: tuple[float, float, float] | None = field(repr=False)
    std: tuple[float, float, float] | None = field(repr=False)
    metrics: dict[str, float]
    provenance: dict = field(repr=False)

    def __getstate__(self) -> dict:
        return dict(vars(self))  # at once: another thread may be making its plan

    @_Once
    def network(self) -> "Network":
        """The network itself. It is made when it is asked for: to infer takes no gradients, and none of training's kernels."""
        from minisqx.network import Network

        network = Network(self.spec, dtype=self._dtype.name)
        network.load_state_dict(self.state)
        network.classes, network.mean, network.std = self.classes, self.mean, self.std
        return network

    @property
    def _dtype(self) -> np.dtype:
        return next(iter(self.state.values())).dtype

    @overload
    def infer(
        self, img: ImageSource, *, errors: Literal["raise"] = ..., bgr: bool = ..., formats: Sequence[str] = ...
    ) -> Prediction: ...
    @overload
    def infer(
        self, img: list | tuple, *, errors: Literal["raise"] = ..., bgr: bool = ..., formats: Sequence[str] = ...
    ) -> list[Prediction]: ...
    @overload
    def infer(
        self, img: list | tuple, *, errors: Literal["return"], bgr: bool = ..., formats: Sequence[str] = ...
    ) -> list[Prediction | ImageError]: ...
    def infer(self, img, *, errors="raise", bgr=False, formats=()):
        """The prediction for an image (see `load_image`), or a list of them for a list.

        errors: "raise": ImageError for what is no usable image. "return": in a list, the ImageError stands in that image's place.
        bgr, formats: as in `load_image`.
        An image's prediction has the same bits alone and in any list.
        """
        is_list = isinstance(img, (list, tuple))
        if errors != "raise" and (errors != "return" or not is_list):
            raise OptionError(f"errors={errors!r}: expected 'raise', or 'return' with a list of images")
        if not is_list:
            return self._predict([self._input(img, bgr, formats)])[0]
        answers: list[Prediction | ImageError] = []
        for first in range(0, len(img), IMAGES_AT_ONCE):
            inputs, bad = [], {}
            for index, one in enumerate(img[first : first + IMAGES_AT_ONCE], start=first):
                try:
                    inputs.append(self._input(one, bgr, formats))
                except ImageError as error:
                    bad[index] = ImageError(f"[{index}] of the list: {error}")
                    if errors == "raise":
                        raise bad[index] from error
            good = iter(self._predict(inputs) if inputs else ())
            answers += [bad.get(index) or next(good) for index in range(first, first + len(inputs) + len(bad))]
        return answers

    @_Once
    def _plan(self) -> Plan:
        return self.network.plan() if "network" in self.__dict__ else Plan(self.spec, self.state)

    @_Once
    def _values(self) -> np.ndarray:
        """(3, 256): what the network gets for each value of each colour, rounded once, as in training."""
        self.check_described()
        mean, std = np.array([self.mean, self.std])[:, :, None]
        return ((np.arange(256) / 255 - mean) / std).astype(self._dtype)

    def check_described(self) -> None:
        """Raises CheckpointError unless the model knows its classes and how its images are normalised: a guess would be wrong."""
        missing = ["class names"] * (self.classes is None) + ["normalisation"] * (self.mean is None)
        if missing:
            raise CheckpointError(
                f"the file of the model {self.name!r} has no {' and no '.join(missing)}: say it in minisqx.load(path, classes="
                "..., mean=..., std=...), or when it is saved, in net.save(path, classes=..., mean=..., std=...)"
            )

    def check_finite(self, logits: np.ndarray) -> None:
        """Raises CheckpointError unless all of its logits are finite numbers."""
        if not np.isfinite(logits).all():
            raise CheckpointError(f"the model {self.name!r} gives no finite numbers: its training has failed; use another one")

    def _input(self, img: ImageSource, bgr: bool, formats: Sequence[str]) -> np.ndarray:
        """(3, H, W) for the network."""
        pixels = load_image(img, self.spec.input_size, bgr=bgr, formats=formats)
        return self._values[np.arange(3)[:, None, None], pixels.transpose(2, 0, 1)]

    def _predict(self, inputs: list[np.ndarray]) -> list[Prediction]:
        layout = self._plan.layout(len(inputs), *self.spec.input_size)
        logits = self._plan.run(layout.pack(np.stack(inputs), layout.empty(3, self._dtype)), layout)
        self.check_finite(logits)
        assert self.classes is not None  # `check_described` has seen to it
        return [Prediction(row, self.classes) for row in softmax(logits)]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities float64 (N, classes), read-only, of logits (N, classes)."""
    shifted = logits.astype(np.float64)
    powers = np.exp(shifted - shifted.max(axis=1, keepdims=True))
    powers /= powers.sum(axis=1, keepdims=True)
    powers.flags.writeable = False
    return powers


def load(
    name_or_path: str | os.PathLike,
    classes: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Model:
    """The model of a checkpoint file, or one that comes with minisqx, by its name ("shallow-06-0.2x").

    classes, mean, std: as in `Checkpoint`, for a file that has none, or other ones; None: those of the file.
    Raises CheckpointError where there is none, or where it is damaged, or where what is given doesn't fit it.
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise OptionError(f"model {reprlib.repr(name_or_path)}: expected a checkpoint's path or the name of a model")
    shipped = zoo.weights()
    if name_or_path in shipped:
        name = str(name_or_path)
        with as_file(shipped[name]) as path:
            checkpoint = load_checkpoint(path)
    elif os.path.lexists(name_or_path):
        name = os.path.basename(os.fspath(name_or_path))
        checkpoint = load_checkpoint(name_or_path)
    else:
        known = "or one of " + ", ".join(sorted(shipped)) if shipped else "since no weights come with this installation"
        wanted = os.fspath(name_or_path)
        if zoo.is_name(str(wanted)):
            known += f"; no weights of {wanted} come with minisqx: train them with `minisqx train --model {wanted}`"
        raise CheckpointError(f"there is no model {wanted!r}; expected the path of a checkpoint, {known}")
    given: dict[str, Any] = {"classes": classes, "mean": mean, "std": std}
    checkpoint = replace(checkpoint, **{name: value for name, value in given.items() if value is not None})
    kept = ("spec", "state", "classes", "mean", "std", "metrics", "provenance")
    return Model(name, *(getattr(checkpoint, part) for part in kept))


AnyModel = Model | str | os.PathLike | None


@overload
def infer(
    img: ImageSource,
    model: AnyModel = ...,
    *,
    errors: Literal["raise"] = ...,
    bgr: bool = ...,
    formats: Sequence[str] = ...,
) -> Prediction: ...
@overload
def infer(
    img: list | tuple,
    model: AnyModel = ...,
    *,
    errors: Literal["raise"] = ...,
    bgr: bool = ...,
    formats: Sequence[str] = ...,
) -> list[Prediction]: ...
@overload
def infer(
    img: list | tuple,
    model: AnyModel = ...,
    *,
    errors: Literal["return"],
    bgr: bool = ...,
    formats: Sequence[str] = ...,
) -> list[Prediction | ImageError]: ...
def infer(img, model=None, *, errors="raise", bgr=False, formats=()):
    """What the image shows: a path, a file or its bytes, a PIL image, or an array, uint8 (H, W, 3), RGB. A list for a list.

    model: from `load`, or what `load` takes; None is the model that comes with minisqx, kept for further calls.
    errors: "return": an ImageError stands in the answer to a list in place of what is no usable image; the others are answered.
    bgr: arrays have blue first, as OpenCV reads images. formats: further formats that Pillow was taught, such as ["HEIF"].
    """
    if model is None:
        model = _default_model()
    elif not isinstance(model, Model):
        model = load(model)
    return model.infer(img, errors=errors, bgr=bgr, formats=formats)


@functools.cache
def _default_model() -> Model:
    return load(zoo.DEFAULT)
