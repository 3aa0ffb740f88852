"""`Checkpoint`, and its format: one HDF5 file.

    payload        uint8 (bytes,): all tensors, little-endian, one after the other: every layer's parameters in the order of the
                   forward pass, then every layer's running statistics, then the optimizer's arrays
    index          one string, compact JSON: a description of the payload, and all other fields of a `Checkpoint`
    index_sha256   attribute; the index contains the SHA-256 of the payload, so any changed bit is detected

One dataset per tensor would make the file three times as large. Any HDF5 program can read it; `container` has our reader.
"""

import hashlib
import json
import math
import numbers
import os
import reprlib
import stat
from collections.abc import Collection, Iterable
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
# Enough for the names of 100,000 classes, or the history of 10,000 epochs. Parsed JSON may take 30 times its size in memory.
MAX_INDEX_BYTES = 8 << 20
DTYPES = {"float32": "<f4", "float64": "<f8"}
BUFFERS = "buffers"  # the optimizer's array that has a number for each running statistic
MAX_REASON = 300  # characters of an error message that may quote the file
# Entries of the index and their types.
ENTRIES = {
    **{"format": str, "version": int, "network": dict, "dtype": str, "layers": dict, "payload_sha256": str},
    **{"classes": list, "mean": list, "std": list, "metrics": dict, "provenance": dict, "optimizer": list, "training": dict},
}
MAY_BE_NONE = {"classes", "mean", "std", "optimizer", "training"}
# Entries that a file has only where they differ from these values, so that other files keep their bytes.
ABSENT = {"temperature": 1.0, "threshold": 0.0}
TEMPERATURES = (0.01, 100.0)

# The usual mean and standard deviation of CIFAR-10's red, green and blue, for pixel values from 0 to 1.
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2023, 0.1994, 0.2010)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The content of a checkpoint file. Raises CheckpointError for values that are invalid or don't fit the network.

    spec: the network. state: name -> parameter or buffer, all float32 or all float64.
    classes: the name of each class; None: unknown.
    mean, std: normalisation of red, green and blue: the network's input is (pixel / 255 - mean) / std; both None: unknown.
    metrics: name -> number ("test_accuracy": 0.72).
    provenance: origin of the weights (data, recipe, command, versions), in JSON types.
    optimizer: name -> flat array in the order of `flat_parameters`, such as SGD's velocity, or, named "buffers", in that of
        `flat_buffers`; None: training can't be resumed.
    training: progress of the run, in JSON types; None: training can't be resumed.
    temperature: logits are divided by it before the softmax, 0.01 to 100. threshold: the least probability, 0 to 1, at which a
        prediction counts as confident; 0: each does.
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
    temperature: float = 1.0
    threshold: float = 0.0

    def __post_init__(self) -> None:
        _check_state(self.spec, self.state)
        if self.classes is not None:
            object.__setattr__(self, "classes", _checked_classes(self.spec, self.classes))
        if (self.mean is None) != (self.std is None):
            given, missing = ("mean", "standard deviation") if self.std is None else ("standard deviation", "mean")
            raise CheckpointError(f"normalisation with a {given} and no {missing}: expected both, or neither")
        for name, what in (("mean", "mean"), ("std", "standard deviation")):
            if (values := getattr(self, name)) is not None:
                object.__setattr__(self, name, _checked_rgb(what, values))
        object.__setattr__(self, "metrics", {name: plain(value) for name, value in self.metrics.items()})
        for name, value in self.metrics.items():
            if not isinstance(name, str) or not _is_finite(value):
                raise CheckpointError(f"the metric {name!r} is {value!r}: expected a finite number")
        for name, (low, high) in {"temperature": TEMPERATURES, "threshold": (0.0, 1.0)}.items():
            if not is_number(value := plain(getattr(self, name))) or not low <= value <= high:
                raise CheckpointError(f"{name} {value!r}: expected a number from {low:g} to {high:g}")
            object.__setattr__(self, name, float(value))
        optimizer = self.optimizer or {}
        for (name, array), size in zip(optimizer.items(), _optimizer_sizes(self.spec, optimizer)):
            if array.dtype.name != self.dtype or array.shape != (size,):
                of_what = "statistic" if name == BUFFERS else "parameter"
                expected = f"{self.dtype} ({size},), one number a {of_what}"
                raise CheckpointError(f"the optimizer's {name} is {array.dtype} {array.shape}: expected {expected}")

    @property
    def dtype(self) -> str:
        """ "float32" or "float64": the type of every tensor."""
        return next(iter(self.state.values())).dtype.name

    @property
    def payload(self) -> bytes:
        """The bytes of all tensors of the state, then of the optimizer's arrays, as in the file."""
        return self._bytes([*(self.state[name] for name in _shapes(self.spec)), *(self.optimizer or {}).values()])

    def _bytes(self, arrays: Iterable[np.ndarray]) -> bytes:
        return b"".join(array.astype(DTYPES[self.dtype]).tobytes() for array in arrays)

    @property
    def sha256(self) -> str:
        """SHA-256 of `payload`: equal for runs with the same bits, although their files differ in times and paths."""
        return hashlib.sha256(self.payload).hexdigest()

    @property
    def weights_sha256(self) -> str:
        """SHA-256 of the state alone: the same for last.h5 and for a file with its weights only."""
        return hashlib.sha256(self._bytes(self.state[name] for name in _shapes(self.spec))).hexdigest()


def save_checkpoint(path: str | os.PathLike, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint to `path`, atomically: an existing file is replaced only once the new one is complete on disk.

    Raises CheckpointError, and leaves no temporary file, if that fails.
    """
    data = _file_image(checkpoint)
    try:
        replace_file(Path(os.fsdecode(path)), data)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"can't write the checkpoint {str(path)!r}: {why}; choose a writable folder with free space"
        ) from error


def load_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Reads a checkpoint written by `save_checkpoint`. Raises CheckpointError if it is missing or damaged in any way."""
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise CheckpointError(f"checkpoint {type(path).__name__}: expected a path")
    shown = repr(os.fspath(path))
    try:
        # Check first: opening a pipe would wait for its other end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise CheckpointError(f"{shown} is not a file; expected a checkpoint written by minisqx")
        with open(path, "rb") as file:
            start = file.read(len(SIGNATURE))
            if not start:
                raise CheckpointError(f"the checkpoint {shown} is empty; get it again from its source, or train again")
            if start != SIGNATURE:
                raise CheckpointError(f"{shown} is not an HDF5 file; expected a checkpoint written by minisqx")
            return _read(file, shown)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckpointError(f"there is no checkpoint {shown}; expected the path of a file written by minisqx") from None
    except OSError as error:
        why = error.strerror or str(error)
    except CheckpointError:
        raise
    except ValueError as error:  # a NUL in the path, or a character outside the file system encoding
        why = str(error)
    raise CheckpointError(f"the checkpoint {shown} can't be read ({why}); check its path and permissions")


def _is_finite(value: object) -> bool:
    try:
        return isinstance(value, numbers.Real) and math.isfinite(value)
    except OverflowError:
        return False  # an int too large for a float


def _check_state(spec: NetworkSpec, state: dict[str, np.ndarray]) -> None:
    shapes = _shapes(spec)
    if set(state) != set(shapes):
        wrong = sorted(set(state) ^ set(shapes))
        raise CheckpointError(f"{spec.name}: missing or unknown tensors: {', '.join(wrong[:3])}{', ...' if wrong[3:] else ''}")
    dtypes = {array.dtype.name for array in state.values()}
    if len(dtypes) > 1 or dtypes.isdisjoint(DTYPES):
        raise CheckpointError(f"{spec.name}: tensors of dtype {', '.join(sorted(dtypes))}; expected all float32 or all float64")
    for name, shape in shapes.items():
        if state[name].shape != shape:
            raise CheckpointError(f"{spec.name}: {name} has shape {state[name].shape}, expected {shape}")


def _checked_classes(spec: NetworkSpec, given: Iterable[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise CheckpointError(f"class names {given!r}: expected a list of names, one per class")
    classes = tuple(given)
    if len(classes) != spec.num_classes:
        raise CheckpointError(f"{len(classes)} class names for a network with {spec.num_classes} classes; expected one per class")
    wrong = [name for name in classes if not is_name(name)]
    if wrong or len(set(classes)) < len(classes):
        raise CheckpointError(f"class names {wrong[0]!r}: expected printable text" if wrong else "class names: one occurs twice")
    return classes


def _checked_rgb(what: str, given: Iterable[float]) -> tuple[float, ...]:
    try:
        values = tuple(map(float, given))
    except (TypeError, ValueError):
        values = ()
    if len(values) != 3 or not all(map(math.isfinite, values)) or (what != "mean" and min(values) <= 0):
        raise CheckpointError(f"normalisation with the {what} {given!r}: expected three finite numbers, deviations over 0")
    return values


def _shapes(spec: NetworkSpec) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of the state, in the order of the payload."""
    return {**spec.parameter_shapes, **spec.buffer_shapes}


def _optimizer_sizes(spec: NetworkSpec, names: Collection[str]) -> list[int]:
    """The numbers of elements of some of the optimizer's arrays."""
    if not names:  # of most files, and to count takes a moment
        return []
    buffers, parameters = sum(map(math.prod, spec.buffer_shapes.values())), spec.parameters
    return [buffers if name == BUFFERS else parameters for name in names]


def _weight_shapes(spec: NetworkSpec) -> dict[str, list[int]]:
    """Name of a layer -> shape of its weight, from which the shapes of its other tensors follow."""
    return {layer.name: list(layer.parameter_shapes["weight"]) for layer in spec.layers}


def _file_image(checkpoint: Checkpoint) -> bytes:
    """The bytes of the whole file."""
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
        **{name: value for name, usual in ABSENT.items() if (value := getattr(checkpoint, name)) != usual},
    }
    try:
        index = json.dumps(entries, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain_or_error).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"provenance or training state can't be JSON ({error}); expected text, finite numbers, lists and dicts"
        ) from error
    if len(index) > MAX_INDEX_BYTES:
        raise CheckpointError(f"provenance and training state take {len(index)} bytes; expected at most {MAX_INDEX_BYTES}")
    return pack(payload, index)


def _plain_or_error(value: object) -> object:
    """Converts NumPy scalars for `json.dumps`. Raises TypeError for other types."""
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
            raise Damage("its tensors don't fit its network")
        dtype, optimizer = np.dtype(DTYPES[entries["dtype"]]), entries["optimizer"] or []
        sizes = [*map(math.prod, shapes.values()), *_optimizer_sizes(spec, optimizer)]
        if contents.payload.size != sum(sizes) * dtype.itemsize:
            raise Damage(f"its payload has {contents.payload.size} bytes, its network needs {sum(sizes) * dtype.itemsize}")
        flat = np.empty(sum(sizes), dtype)
        file.seek(contents.payload.offset)
        if file.readinto(flat.view(np.uint8)) != flat.nbytes or hashlib.sha256(flat).hexdigest() != entries["payload_sha256"]:
            raise Damage("the checksum of its tensors is wrong")
        # Converted to the byte order of this machine; the tensors are views.
        parts = np.split(flat.astype(entries["dtype"], copy=False), np.cumsum(sizes)[:-1])
        return Checkpoint(
            spec=spec,
            state={name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts)},
            optimizer=None if entries["optimizer"] is None else dict(zip(optimizer, parts[len(shapes) :])),
            **{name: entries[name] for name in ("classes", "mean", "std", "metrics", "provenance", "training")},
            **{name: entries[name] for name in ABSENT if name in entries},
        )
    except (Damage, CheckpointError, OptionError) as error:
        why = str(error)
    except Exception as error:
        # Unforeseen JSON values, errors of the disk, out of memory.
        why = " ".join(f"{type(error).__name__}: {error}".split())
    why = why[:MAX_REASON]
    raise CheckpointError(
        f"the checkpoint {shown} is damaged or not from minisqx ({why}); get it again from its source, or train again"
    )


def _read_index(file: BufferedReader, contents: Contents) -> dict:
    if contents.index.size > MAX_INDEX_BYTES:
        raise Damage(f"its index has {contents.index.size} bytes, expected at most {MAX_INDEX_BYTES}")
    file.seek(contents.index.offset)
    text = file.read(contents.index.size)
    if hashlib.sha256(text).hexdigest() != contents.index_sha256:
        raise Damage("the checksum of its index is wrong")
    entries = json.loads(text, object_pairs_hook=_unique_entries, parse_float=_finite, parse_constant=_finite)
    if not isinstance(entries, dict) or entries.get("format") != FORMAT:
        raise Damage("its index has another format")
    if entries.get("version") != VERSION:
        raise Damage(f"it has format version {str(entries.get('version'))[:20]}, this minisqx reads version {VERSION}")
    if wrong := sorted((set(entries) ^ set(ENTRIES)) - set(ABSENT)):
        raise Damage(f"its index has missing or unknown entries: {', '.join(map(repr, wrong))}")
    for name, expected in ENTRIES.items():
        if type(entries[name]) is not expected and not (entries[name] is None and name in MAY_BE_NONE):
            raise Damage(f"its {name} is a {type(entries[name]).__name__}, not a {expected.__name__}")
    if not all(map(is_number, (*(entries["mean"] or ()), *(entries["std"] or ())))):
        raise Damage("its mean or std has entries that are not numbers")
    names = entries["optimizer"] or []
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise Damage("the names of its optimizer's arrays are not text, or one occurs twice")
    return entries


def _unique_entries(pairs: list[tuple[str, object]]) -> dict:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise Damage("an entry of its index occurs twice")
    return entries


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Damage(f"its index contains {text}; expected finite numbers")
    return number
