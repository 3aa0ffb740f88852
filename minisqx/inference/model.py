"""Using a trained network: `load` it, and `infer` the class of an image."""

import functools
import os
import reprlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import as_file
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

import numpy as np

from minisqx.checkpoint import Checkpoint, load_weights
from minisqx.errors import CheckpointError, ImageError, OptionError
from minisqx.images.load import ImageSource, load_image
from minisqx.inference.prediction import Prediction, softmax
from minisqx.machine.sharing import share
from minisqx.plan import Plan
from minisqx.spec import NetworkSpec, Size, zoo

if TYPE_CHECKING:
    from minisqx.network import Network

# What a model and its checkpoint have in common.
CONTENT = ("spec", "state", "classes", "mean", "std", "metrics", "provenance", "temperature", "threshold")
IMAGES_AT_ONCE = 128  # of a list: so many are loaded, then classified
# Several images: a list, or an array (N, H, W, 3). A type checker that doesn't know an array's axes allows both answers.
Images = list | tuple | np.ndarray[tuple[int, int, int, int], np.dtype[Any]]


T = TypeVar("T")


class _Once(Generic[T]):
    """A property that is computed once. Unlike `cached_property` in Python 3.11 it has no lock, which a fork at the wrong moment
    would leave locked in the child; threads that need it at the same time may each compute it, and all get the same object.
    """

    def __init__(self, make: Callable[..., T]):
        self._make, self.__doc__ = make, make.__doc__

    def __get__(self, instance, owner=None) -> T:
        return instance.__dict__.setdefault(self._make.__name__, self._make(instance))


@dataclass(frozen=True, eq=False)
class Model:
    """A network with everything that is needed to classify images.

    spec, state, classes, mean, std, metrics, provenance, temperature, threshold: as in `Checkpoint`. name: of a shipped model, or
    of the file.
    `infer` freezes the network on its first call; it ignores later changes of the weights. A copy, in this process or another,
    gives the same bits.
    """

    name: str
    spec: NetworkSpec = field(repr=False)
    state: dict[str, np.ndarray] = field(repr=False)
    classes: tuple[str, ...] | None = field(repr=False)
    mean: tuple[float, float, float] | None = field(repr=False)
    std: tuple[float, float, float] | None = field(repr=False)
    metrics: dict[str, float]
    provenance: dict = field(repr=False)
    temperature: float = field(default=1.0, repr=False)
    threshold: float = field(default=0.0, repr=False)

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint that `load` makes this model of."""
        return Checkpoint(**{part: getattr(self, part) for part in CONTENT})

    def __getstate__(self) -> dict:
        return dict(vars(self))  # a copy in one step: another thread may be adding the plan

    @_Once
    def network(self) -> "Network":
        """The network itself. It is made on first use: `infer` needs no gradients, and no kernels of training."""
        from minisqx.network import Network

        network = Network(self.spec, dtype=self._dtype.name)
        network.load_state_dict(self.state)
        network.classes, network.mean, network.std = self.classes, self.mean, self.std
        return network

    @property
    def _dtype(self) -> np.dtype:
        return next(iter(self.state.values())).dtype

    @overload
    def infer(  # type: ignore[overload-overlap]
        self, img: Images, *, errors: Literal["raise"] = ..., bgr: bool = ..., formats: Sequence[str] = ...
    ) -> list[Prediction]: ...
    @overload
    def infer(
        self, img: ImageSource, *, errors: Literal["raise"] = ..., bgr: bool = ..., formats: Sequence[str] = ...
    ) -> Prediction: ...
    @overload
    def infer(
        self, img: Images, *, errors: Literal["return"], bgr: bool = ..., formats: Sequence[str] = ...
    ) -> list[Prediction | ImageError]: ...
    def infer(self, img, *, errors="raise", bgr=False, formats=()):
        """The prediction for an image (see `load_image`); for a list, or an array (N, H, W, 3), a list of predictions.

        errors: "raise": ImageError for an image that can't be used. "return": in the answer to a list, the ImageError takes that
        image's place. bgr, formats: as in `load_image`.

        Files, and arrays of another size, are decoded and resized on as many threads as are set; PIL images and objects with
        `read` only on the calling thread. An image's prediction has the same bits alone and in any list.
        """
        is_many, classes = _is_many(img), cast(tuple[str, ...], self.classes)  # without names there are no probabilities
        if errors != "raise" and (errors != "return" or not is_many):
            raise OptionError(f"errors={errors!r}: expected 'raise', or 'return' with a list of images")
        if not is_many:
            pixels = load_image(img, self.spec.input_size, bgr=bgr, formats=formats)
            return Prediction(self._probabilities(pixels[None])[0], classes, self.threshold)
        answers: list[Prediction | ImageError] = []
        for loaded, probabilities in self._blocks(img, errors, bgr, formats):
            good = iter([Prediction(row, classes, self.threshold) for row in probabilities])
            answers += [one if isinstance(one, ImageError) else next(good) for one in loaded]
        return answers

    def probabilities(self, images: Images, *, bgr: bool = False, formats: Sequence[str] = ()) -> np.ndarray:
        """Probabilities float64 (N, classes) of a list of images, or of an array (N, H, W, 3); otherwise as `infer`."""
        if not _is_many(images):
            raise OptionError("one image: expected a list of images, or an array (N, H, W, 3); see infer(image).probabilities")
        blocks = [probabilities for _, probabilities in self._blocks(images, "raise", bgr, formats)]
        return np.concatenate([np.empty((0, self.spec.num_classes)), *blocks])

    def _blocks(
        self, images: Images, errors: str, bgr: bool, formats: Sequence[str]
    ) -> Iterator[tuple[list | np.ndarray, np.ndarray]]:
        """(images of the network's size, or an ImageError in an image's place; the probabilities of the images among them)."""
        if isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.shape[1:] == (*self.spec.input_size, 3):
            if len(images):
                ordered = np.asarray(images)[..., ::-1] if bgr else np.asarray(images)
                yield ordered, self._probabilities(ordered)
            return
        for first in range(0, len(images), IMAGES_AT_ONCE):
            loaded = self._load(images, range(first, min(first + IMAGES_AT_ONCE, len(images))), errors, bgr, formats)
            yield loaded, self._probabilities([one for one in loaded if not isinstance(one, ImageError)])

    def _load(
        self, images: Images, numbers: range, errors: str, bgr: bool, formats: Sequence[str]
    ) -> list[np.ndarray | ImageError]:
        """The images with these numbers at the network's size; an ImageError in an image's place, or raised, says its number."""
        size = self.spec.input_size
        found: dict[int, np.ndarray | ImageError] = {}
        what = "array" if isinstance(images, np.ndarray) else "list"

        def load_one(number: int) -> None:
            try:
                found[number] = load_image(images[number], size, bgr=bgr, formats=formats)
            except ImageError as error:
                found[number] = named = ImageError(f"[{number}] of the {what}: {error}")
                named.__cause__ = error  # also where it is returned: the message without the number
                if errors == "raise":
                    raise named from error

        # An array of the right size isn't worth a thread. Other objects may share a file, or belong to the calling thread.
        is_shared = {number: _is_for_any_thread(images[number], size) for number in numbers}
        share(load_one, [n for n in numbers if is_shared[n]], own=[n for n in numbers if not is_shared[n]])
        return [found[number] for number in numbers]

    @_Once
    def _plan(self) -> Plan:
        return self.network.plan() if "network" in self.__dict__ else Plan(self.spec, self.state)

    @_Once
    def _values(self) -> np.ndarray:
        """(3, 256): the network's input for each value of each colour, rounded once, as in training."""
        self.check_described()
        mean, std = np.array([self.mean, self.std])[:, :, None]
        return ((np.arange(256) / 255 - mean) / std).astype(self._dtype)

    def _repr_html_(self) -> str:
        from minisqx import html
        from minisqx.draw.network import svg

        spec, named = self.spec, self.classes or ()
        rows = [("network", spec.name), ("parameters", f"{spec.parameters:,}"), ("classes", ", ".join(named[:20]) or "unnamed")]
        rows += [(name.replace("_", " "), f"{value:.4g}") for name, value in self.metrics.items()]
        rows += [("temperature", f"{self.temperature:.3g}")] * (self.temperature != 1)
        rows += [("threshold", f"{100 * self.threshold:g} %")] * (self.threshold > 0)
        return html.heading(self.name) + html.table(rows) + html.wide(svg(spec))

    def check_described(self) -> None:
        """Raises CheckpointError unless the model has class names and the normalisation of its images: a guess would be wrong."""
        missing = ["class names"] * (self.classes is None) + ["normalisation"] * (self.mean is None)
        if missing:
            raise CheckpointError(
                f"the file of the model {self.name!r} has no {' and no '.join(missing)}: say it in minisqx.load(path, classes="
                "..., mean=..., std=...), or when it is saved, in net.save(path, classes=..., mean=..., std=...)"
            )

    def check_finite(self, logits: np.ndarray) -> None:
        """Raises CheckpointError unless all these logits of the model are finite numbers."""
        if not np.isfinite(logits).all():
            raise self._not_finite()

    def _not_finite(self) -> CheckpointError:
        return CheckpointError(f"the model {self.name!r} gives no finite numbers: its training has failed; use another one")

    def _probabilities(self, images: np.ndarray | list[np.ndarray]) -> np.ndarray:
        """float64 (N, classes), read-only, of images uint8 of the network's size, as `Plan.run_pixels` takes them, or of none."""
        if not len(images):
            return np.empty((0, self.spec.num_classes))
        values = self._values  # first, since it raises for a model that can't be used
        found = softmax(self._plan.run_pixels(images, values), self.temperature)
        if found is None:
            raise self._not_finite()
        return found


def _is_many(img) -> bool:
    return isinstance(img, (list, tuple)) or (isinstance(img, np.ndarray) and img.ndim == 4)


def _is_for_any_thread(image, size: Size) -> bool:
    """Whether an image takes time to load and any thread may load it."""
    if isinstance(image, np.ndarray):
        return image.shape[:2] != size
    return isinstance(image, (str, os.PathLike, bytes, bytearray, memoryview))


def load(
    name_or_path: str | os.PathLike,
    classes: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    network: str | NetworkSpec | None = None,
    threshold: float | None = None,
) -> Model:
    """The model in a file, or one that comes with minisqx, by its name ("shallow-06-0.2x").

    The file is a checkpoint, or by its ending one of safetensors (.safetensors) or PyTorch (.pt, .pth).
    classes, mean, std, threshold: as in `Checkpoint`; they replace those of the file. None keeps those.
    network: of such a file that doesn't say it, a name that `minisqx models` lists or a description.
    Raises CheckpointError if there is no such model, if its file is damaged, or if the arguments don't fit it, OptionError for a
    network beside a checkpoint, and MissingExtraError for a package that isn't installed.
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise OptionError(f"model {reprlib.repr(name_or_path)}: expected a checkpoint's path or the name of a model")
    shipped, spec = zoo.weights(), zoo.network(network) if isinstance(network, str) else network
    if name_or_path in shipped:
        name = str(name_or_path)
        with as_file(shipped[name]) as path:
            checkpoint = load_weights(path, spec)
    elif os.path.lexists(name_or_path):
        name = os.path.basename(os.fspath(name_or_path))
        checkpoint = load_weights(name_or_path, spec)
    else:
        known = "or one of " + ", ".join(sorted(shipped)) if shipped else "since no weights come with this installation"
        wanted = os.fspath(name_or_path)
        if zoo.is_name(str(wanted)):
            known += f"; no weights of {wanted} come with minisqx: train them with `minisqx train --model {wanted}`"
        raise CheckpointError(f"there is no model {wanted!r}; expected the path of a checkpoint, {known}")
    given: dict[str, Any] = {"classes": classes, "mean": mean, "std": std, "threshold": threshold}
    checkpoint = replace(checkpoint, **{name: value for name, value in given.items() if value is not None})
    return model_of(name, checkpoint)


def model_of(name: str, checkpoint: Checkpoint) -> Model:
    """The model in a checkpoint."""
    return Model(name, *(getattr(checkpoint, part) for part in CONTENT))


AnyModel = Model | str | os.PathLike | None


@overload
def infer(  # type: ignore[overload-overlap]
    img: Images,
    model: AnyModel = ...,
    *,
    errors: Literal["raise"] = ...,
    bgr: bool = ...,
    formats: Sequence[str] = ...,
) -> list[Prediction]: ...
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
    img: Images,
    model: AnyModel = ...,
    *,
    errors: Literal["return"],
    bgr: bool = ...,
    formats: Sequence[str] = ...,
) -> list[Prediction | ImageError]: ...
def infer(img, model=None, *, errors="raise", bgr=False, formats=()):
    """The prediction for an image: a path, a file or its bytes, a PIL image, or an array, uint8 (H, W, 3), RGB.

    For a list, or an array (N, H, W, 3), it is a list of predictions.

    model: from `load`, or what `load` takes; None: the model that comes with minisqx, which is then kept for further calls.
    errors: "return": in the answer to a list, an ImageError takes the place of an image that can't be used.
    bgr: arrays have blue first, as OpenCV reads images. formats: other formats registered with Pillow, such as ["HEIF"].
    """
    if model is None:
        model = _default_model()
    elif not isinstance(model, Model):
        model = load(model)
    return model.infer(img, errors=errors, bgr=bgr, formats=formats)


@functools.cache
def _default_model() -> Model:
    return load(zoo.DEFAULT)
