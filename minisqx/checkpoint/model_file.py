"""Checkpoints: a network and what is needed to use it, or to go on training it, in one HDF5 file.

    payload        uint8 (bytes,): all tensors, little-endian, one after the other: every layer's parameters in the order of the
                   forward pass, then every layer's running statistics, then the optimizer's arrays
    index          one string, compact JSON: what the payload holds, and everything else that a `Checkpoint` has
    index_sha256   attribute; the index in turn has the payload's SHA-256, so no bit of either can change unseen

A dataset for every tensor would be three times as large. Any HDF5 program can read it; `container` says how we do.
"""

import hashlib
import json
import math
import numbers
import os
import reprlib
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path

import numpy as np

from minisqx.checkpoint.container import SIGNATURE, Contents, Damage, pack, unpack
from minisqx.checks import is_name, is_number, plain
from minisqx.errors import CheckpointError, OptionError
from minisqx.machine.folders import replace_file
from minisqx.spec import NetworkSpec, zoo

FORMAT = "minisqx checkpoint"
VERSION = 1
# The names of 100,000 classes, or the history of 10,000 epochs. As Python objects, JSON may take 30 times its bytes.
MOST_INDEX_BYTES = 4 << 20
DTYPES = {"float32": "<f4", "float64": "<f8"}
MOST_REASON = 300  # letters of an error that quote what a file says
# The index: each entry's type.
ENTRIES = {
    **{"format": str, "version": int, "network": dict, "dtype": str, "layers": dict, "payload_sha256": str},
    **{"classes": list, "mean": list, "std": list, "metrics": dict, "provenance": dict, "optimizer": list, "training": dict},
}
MAY_BE_NONE = {"classes", "mean", "std", "optimizer", "training"}

# The usual mean and standard deviation of CIFAR-10's red, green and blue, for pixel values from 0 to 1.
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2023, 0.1994, 0.2010)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint file holds. Raises CheckpointError unless the parts fit each other.

    spec: the network. state: its parameters and buffers by name, float32 or float64.
    classes: a name for each class; None: not known.
    mean, std: normalisation of red, green and blue: the network sees (pixel / 255 - mean) / std; None, both of them: not known.
    metrics: name -> number ("test_accuracy": 0.72).
    provenance: where the weights come from (data, recipe, command, versions), JSON types.
    optimizer: name -> flat array, such as SGD's velocity, in the order of `flat_parameters`; None for weights to use.
    training: how far the run is, JSON types; None for weights to use.
    """

    spec: NetworkSpec
    state: dict[str, np.ndarray]
    classes: tuple[str, ...] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    provenance: dict = field(default_factory=dict)
    optimizer: dict[str, np.ndarray] | None = None
    training: dict | None = None

    def __post_init__(self) -> None:
        _check_state(self.spec, self.state)
        if self.classes is not None:
            object.__setattr__(self, "classes", _checked_labels(self.spec, self.classes))
        if (self.mean is None) != (self.std is None):
            given, missing = ("mean", "standard deviation") if self.std is None else ("standard deviation", "mean")
            raise CheckpointError(f"normalisation with a {given} and no {missing}: expected both, or neither")
        for name, what in (("mean", "mean"), ("std", "standard deviation")):
            if (values := getattr(self, name)) is not None:
                object.__setattr__(self, name, _checked_colours(what, values))
        object.__setattr__(self, "metrics", {name: plain(value) for name, value in self.metrics.items()})
        for name, value in self.metrics.items():
            if not isinstance(name, str) or not _is_finite(value):
                raise CheckpointError(f"the metric {name!r} is {value!r}: expected a finite number")
        for name, array in (self.optimizer or {}).items():
            if array.dtype.name != self.dtype or array.shape != (self.spec.parameters,):
                expected = f"{self.dtype} ({self.spec.parameters},), one number a parameter"
                raise CheckpointError(f"the optimizer's {name} is {array.dtype} {array.shape}: expected {expected}")

    @property
    def dtype(self) -> str:
        """ "float32" or "float64": the type of every tensor."""
        return next(iter(self.state.values())).dtype.name

    @property
    def payload(self) -> bytes:
        """Every tensor of the state, then the optimizer's arrays, as they lie in the file."""
        arrays = [*(self.state[name] for name in _shapes(self.spec)), *(self.optimizer or {}).values()]
        return b"".join(array.astype(DTYPES[self.dtype]).tobytes() for array in arrays)

    @property
    def sha256(self) -> str:
        """Of `payload`: the same for two runs with the same bits, whose files differ by times and paths."""
        return hashlib.sha256(self.payload).hexdigest()


def save_checkpoint(path: str | os.PathLike, checkpoint: Checkpoint) -> None:
    """Writes `checkpoint` to `path`; a file that is there already stays until the new one is whole and on the disk.

    Raises CheckpointError, and leaves no other file behind, where that can't be done.
    """
    data = _file_image(checkpoint)
    try:
        replace_file(Path(os.fsdecode(path)), data)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise CheckpointError(f"can't write the checkpoint {str(path)!r}: {why}; name a file in a folder with room") from error


def load_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """The checkpoint that `save_checkpoint` wrote to `path`.

    Raises CheckpointError where there is none, or where it is damaged in any way.
    """
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise CheckpointError(f"a checkpoint's path is expected, not a {type(path).__name__}")
    shown = repr(os.fspath(path))
    try:
        # Opening a pipe would wait for its other end, so this is asked first.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise CheckpointError(f"{shown} is not a file; expected a checkpoint that minisqx wrote")
        with open(path, "rb") as file:
            start = file.read(len(SIGNATURE))
            if not start:
                raise CheckpointError(f"the checkpoint {shown} is empty; copy it again from where it came, or train again")
            if start != SIGNATURE:
                raise CheckpointError(f"{shown} is not an HDF5 file; expected a checkpoint that minisqx wrote")
            return _read(file, shown)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"there is no checkpoint {shown}; expected the path of a file that minisqx wrote") from None
    except OSError as error:
        why = error.strerror or str(error)
    except CheckpointError:
        raise
    except ValueError as error:  # a NUL in the path, or a letter that the system's encoding doesn't have
        why = str(error)
    raise CheckpointError(f"the checkpoint {shown} can't be read ({why}); check its path and permissions")


def _is_finite(value: object) -> bool:
    try:
        return isinstance(value, numbers.Real) and math.isfinite(value)
    except OverflowError:
        return False  # a whole number beyond every float


def _check_state(spec: NetworkSpec, state: dict[str, np.ndarray]) -> None:
    shapes = _shapes(spec)
    if set(state) != set(shapes):
        wrong = sorted(set(state) ^ set(shapes))
        raise CheckpointError(
            f"{spec.name}: tensors that are missing or unknown: {', '.join(wrong[:3])}{', ...' if wrong[3:] else ''}"
        )
    dtypes = {array.dtype.name for array in state.values()}
    if len(dtypes) > 1 or dtypes.isdisjoint(DTYPES):
        raise CheckpointError(
            f"{spec.name}: tensors of the types {', '.join(sorted(dtypes))}; expected all float32 or all float64"
        )
    for name, shape in shapes.items():
        if state[name].shape != shape:
            raise CheckpointError(f"{spec.name}: {name} has the shape {state[name].shape}, expected {shape}")


def _checked_labels(spec: NetworkSpec, given: Iterable[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise CheckpointError(f"class names {given!r}: expected a list of names, one a class")
    classes = tuple(given)
    if len(classes) != spec.num_classes:
        raise CheckpointError(f"{len(classes)} class names for a network of {spec.num_classes} classes; expected one a class")
    wrong = [name for name in classes if not is_name(name)]
    if wrong or len(set(classes)) < len(classes):
        raise CheckpointError(
            f"class names {wrong[0]!r}: expected printable text" if wrong else "class names: one is there twice"
        )
    return classes


def _checked_colours(what: str, given: Iterable[float]) -> tuple[float, ...]:
    try:
        values = tuple(map(float, given))
    except (TypeError, ValueError):
        values = ()
    if len(values) != 3 or not all(map(math.isfinite, values)) or (what != "mean" and min(values) <= 0):
        raise CheckpointError(f"normalisation with the {what} {given!r}: expected three finite numbers, deviations over 0")
    return values


def _shapes(spec: NetworkSpec) -> dict[str, tuple[int, ...]]:
    """Every tensor of the network's state in the payload's order."""
    return {**spec.parameter_shapes, **spec.buffer_shapes}


def _weight_shapes(spec: NetworkSpec) -> dict[str, list[int]]:
    """A layer's name -> its weight's shape; the other tensors' shapes follow from it."""
    return {layer.name: list(layer.parameter_shapes["weight"]) for layer in spec.layers}


def _file_image(checkpoint: Checkpoint) -> bytes:
    """The whole file as bytes."""
    payload = checkpoint.payload
    entries = {
        "format": FORMAT,
        "version": VERSION,
        "network": checkpoint.spec.to_dict(),
        "dtype": checkpoint.dtype,
        "layers": _weight_shapes(checkpoint.spec),
        "optimizer": None if checkpoint.optimizer is None else list(checkpoint.optimizer),
        "payload_sha256": hashlib.sha256(payload).hexdigest(),
        **{name: None if (given := getattr(checkpoint, name)) is None else list(given) for name in ("classes", "mean", "std")},
        "metrics": {name: int(v) if isinstance(v, numbers.Integral) else float(v) for name, v in checkpoint.metrics.items()},
        "provenance": checkpoint.provenance,
        "training": checkpoint.training,
    }
    try:
        index = json.dumps(entries, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plainly).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"provenance or training state that is no plain JSON ({error}); expected text, finite numbers, lists and dicts"
        ) from error
    if len(index) > MOST_INDEX_BYTES:
        raise CheckpointError(f"provenance and training state take {len(index)} bytes; expected at most {MOST_INDEX_BYTES}")
    return pack(payload, index)


def _plainly(value: object) -> object:
    """NumPy's numbers, which JSON doesn't know, as Python's."""
    made = plain(value)
    if made is value:
        raise TypeError(f"{type(value).__name__} {reprlib.repr(value)}")
    return made


def _read(file: BufferedReader, shown: str) -> Checkpoint:
    try:
        contents = unpack(file)
        entries = _read_index(file, contents)
        spec = zoo.from_dict(entries["network"])
        shapes = _shapes(spec)
        if entries["layers"] != _weight_shapes(spec):
            raise Damage("its tensors are not those of its network")
        dtype, optimizer = np.dtype(DTYPES[entries["dtype"]]), entries["optimizer"] or []
        sizes = [*map(math.prod, shapes.values()), *[spec.parameters] * len(optimizer)]
        if contents.payload.size != sum(sizes) * dtype.itemsize:
            raise Damage(f"its payload has {contents.payload.size} bytes, its network needs {sum(sizes) * dtype.itemsize}")
        flat = np.empty(sum(sizes), dtype)
        file.seek(contents.payload.offset)
        if file.readinto(flat.view(np.uint8)) != flat.nbytes or hashlib.sha256(flat).hexdigest() != entries["payload_sha256"]:
            raise Damage("its tensors don't have the checksum in its index")
        # In the byte order of this machine; the tensors are views of it.
        parts = np.split(flat.astype(entries["dtype"], copy=False), np.cumsum(sizes)[:-1])
        return Checkpoint(
            spec=spec,
            state={name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts)},
            optimizer=None if entries["optimizer"] is None else dict(zip(optimizer, parts[len(shapes) :])),
            **{name: entries[name] for name in ("classes", "mean", "std", "metrics", "provenance", "training")},
        )
    except (Damage, CheckpointError, OptionError) as error:
        why = str(error)
    except Exception as error:
        # What JSON can hold and nobody thought of; and the disk may fail, or memory not suffice.
        why = " ".join(f"{type(error).__name__}: {error}".split())
    why = why[:MOST_REASON]
    raise CheckpointError(
        f"the checkpoint {shown} is damaged or not from minisqx ({why}); copy it again from where it came, or train again"
    )


def _read_index(file: BufferedReader, contents: Contents) -> dict:
    if contents.index.size > MOST_INDEX_BYTES:
        raise Damage(f"its index has {contents.index.size} bytes, expected at most {MOST_INDEX_BYTES}")
    file.seek(contents.index.offset)
    text = file.read(contents.index.size)
    if hashlib.sha256(text).hexdigest() != contents.index_sha256:
        raise Damage("its index doesn't have its checksum")
    entries = json.loads(text, object_pairs_hook=_without_repeats, parse_float=_finite, parse_constant=_finite)
    if not isinstance(entries, dict) or entries.get("format") != FORMAT:
        raise Damage("its index is of another kind")
    if entries.get("version") != VERSION:
        raise Damage(f"it has version {str(entries.get('version'))[:20]} of the format, this minisqx reads version {VERSION}")
    if set(entries) != set(ENTRIES):
        raise Damage(
            f"its index has entries too many, or lacks them: {', '.join(map(repr, sorted(set(entries) ^ set(ENTRIES))))}"
        )
    for name, kind in ENTRIES.items():
        if type(entries[name]) is not kind and not (entries[name] is None and name in MAY_BE_NONE):
            raise Damage(f"its {name} is a {type(entries[name]).__name__}")
    if not all(map(is_number, (*(entries["mean"] or ()), *(entries["std"] or ())))):
        raise Damage("its normalisation is not of numbers")
    names = entries["optimizer"] or []
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise Damage("its optimizer's arrays have no names, or one twice")
    return entries


def _without_repeats(pairs: list[tuple[str, object]]) -> dict:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise Damage("its index says something twice")
    return entries


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Damage(f"its index holds {text}; expected finite numbers")
    return number
