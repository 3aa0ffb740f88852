"""Checkpoints: a network and what is needed to use it, or to go on training it, in one HDF5 file.

    payload        uint8 (bytes,): all tensors, little-endian, one after the other: every layer's parameters in the order of the
                   forward pass, then every layer's running statistics, then the optimizer's arrays
    index          one string, compact JSON: what the payload holds, and everything else that a `Checkpoint` has
    index_sha256   attribute; the index in turn has the payload's SHA-256, so no bit of either can change unseen

A dataset for every tensor would be three times as large. The file is of HDF5's version 1.10, whose own structures have checksums.
"""

import hashlib
import io
import json
import math
import numbers
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from minisqx import zoo
from minisqx.errors import CheckpointError, OptionError
from minisqx.folders import replace_file
from minisqx.spec import NetworkSpec

FORMAT = "minisqx checkpoint"
VERSION = 1
SIGNATURE = b"\x89HDF\r\n\x1a\n"
MOST_INDEX_BYTES = 64 << 20
DTYPES = {"float32": "<f4", "float64": "<f8"}

# The usual mean and standard deviation of CIFAR-10's red, green and blue, for pixel values from 0 to 1.
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2023, 0.1994, 0.2010)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint file holds. Raises CheckpointError unless the parts fit each other.

    spec: the network. state: its parameters and buffers by name, float32 or float64.
    classes: a name for each class; by default "0", "1", ...
    mean, std: normalisation of red, green and blue: the network sees (pixel / 255 - mean) / std.
    metrics: name -> number ("test_accuracy": 0.72).
    provenance: where the weights come from (data, recipe, command, versions), JSON types.
    optimizer: name -> flat array, such as SGD's velocity, in the order of `flat_parameters`; None for weights to use.
    training: how far the run is, JSON types; None for weights to use.
    """

    spec: NetworkSpec
    state: dict[str, np.ndarray]
    classes: tuple[str, ...] = ()
    mean: tuple[float, float, float] = CIFAR10_MEAN
    std: tuple[float, float, float] = CIFAR10_STD
    metrics: dict[str, float] = field(default_factory=dict)
    provenance: dict = field(default_factory=dict)
    optimizer: dict[str, np.ndarray] | None = None
    training: dict | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes or map(str, range(self.spec.num_classes))))
        object.__setattr__(self, "mean", tuple(map(float, self.mean)))
        object.__setattr__(self, "std", tuple(map(float, self.std)))
        _check_state(self.spec, self.state)
        _check_labels(self.spec, self.classes)
        for values, what in ((self.mean, "mean"), (self.std, "standard deviation")):
            if len(values) != 3 or not all(map(math.isfinite, values)) or (what != "mean" and min(values) <= 0):
                raise CheckpointError(f"normalisation with the {what} {values}: expected three finite numbers, deviations over 0")
        for name, value in self.metrics.items():
            if not isinstance(name, str) or not isinstance(value, numbers.Real) or not math.isfinite(value):
                raise CheckpointError(f"the metric {name!r} is {value!r}: expected a finite number")
        for name, array in (self.optimizer or {}).items():
            if array.dtype.name != self.dtype or array.shape != (self.spec.parameters,):
                expected = f"{self.dtype} ({self.spec.parameters},), one number a parameter"
                raise CheckpointError(f"the optimizer's {name} is {array.dtype} {array.shape}: expected {expected}")

    @property
    def dtype(self) -> str:
        """ "float32" or "float64": the type of every tensor."""
        return next(iter(self.state.values())).dtype.name


def save_checkpoint(path: str | os.PathLike, checkpoint: Checkpoint) -> None:
    """Writes `checkpoint` to `path`; a file that is there already stays until the new one is whole and on the disk.

    Raises CheckpointError, and leaves no other file behind, where that can't be done.
    """
    data = _file_image(checkpoint)
    try:
        replace_file(Path(path), data)
    except OSError as error:
        raise CheckpointError(
            f"can't write the checkpoint {str(path)!r}: {error.strerror or error}; name a file in a folder with room"
        ) from error


def load_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """The checkpoint that `save_checkpoint` wrote to `path`.

    Raises CheckpointError where there is none, or where it is damaged in any way.
    """
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
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {shown}; expected the path of a file that minisqx wrote") from None
    except PermissionError as error:
        raise CheckpointError(f"the checkpoint {shown} can't be read ({error.strerror}); check its permissions") from None


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


def _check_labels(spec: NetworkSpec, classes: tuple[str, ...]) -> None:
    if len(classes) != spec.num_classes:
        raise CheckpointError(f"{len(classes)} class names for a network of {spec.num_classes} classes; expected one a class")
    wrong = [name for name in classes if not isinstance(name, str) or not name or not name.isprintable()]
    if wrong or len(set(classes)) < len(classes):
        raise CheckpointError(
            f"class names {wrong[0]!r}: expected printable text" if wrong else "class names: one is there twice"
        )


def _shapes(spec: NetworkSpec) -> dict[str, tuple[int, ...]]:
    """Every tensor of the network's state in the payload's order."""
    return {**spec.parameter_shapes, **spec.buffer_shapes}


def _weight_shapes(spec: NetworkSpec) -> dict[str, list[int]]:
    """A layer's name -> its weight's shape; the other tensors' shapes follow from it."""
    return {layer.name: list(layer.parameter_shapes["weight"]) for layer in spec.layers}


def _file_image(checkpoint: Checkpoint) -> bytes:
    """The whole file as bytes."""
    optimizer = checkpoint.optimizer or {}
    arrays = [*(checkpoint.state[name] for name in _shapes(checkpoint.spec)), *optimizer.values()]
    payload = b"".join(array.astype(DTYPES[checkpoint.dtype]).tobytes() for array in arrays)
    entries = {
        "format": FORMAT,
        "version": VERSION,
        "network": checkpoint.spec.to_dict(),
        "dtype": checkpoint.dtype,
        "layers": _weight_shapes(checkpoint.spec),
        "optimizer": None if checkpoint.optimizer is None else list(optimizer),
        "payload_sha256": hashlib.sha256(payload).hexdigest(),
        "classes": list(checkpoint.classes),
        "mean": list(checkpoint.mean),
        "std": list(checkpoint.std),
        "metrics": {name: int(v) if isinstance(v, numbers.Integral) else float(v) for name, v in checkpoint.metrics.items()},
        "provenance": checkpoint.provenance,
        "training": checkpoint.training,
    }
    try:
        index = json.dumps(entries, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"provenance or training state that is no plain JSON ({error}); expected text, finite numbers, lists and dicts"
        ) from error
    if len(index) > MOST_INDEX_BYTES:
        raise CheckpointError(f"provenance and training state take {len(index)} bytes; expected at most {MOST_INDEX_BYTES}")
    image = io.BytesIO()
    with h5py.File(image, "w", libver=("v110", "v110")) as file:
        file.create_dataset("payload", data=np.frombuffer(payload, np.uint8))
        file.create_dataset("index", data=np.array(index, h5py.string_dtype("utf-8", len(index))))
        file.attrs["index_sha256"] = np.bytes_(hashlib.sha256(index).hexdigest())
    return image.getvalue()


class _Damage(Exception):
    """Something in the file is not as `save_checkpoint` writes it."""


def _read(file: io.BufferedReader, shown: str) -> Checkpoint:
    try:
        with h5py.File(file, "r") as content:
            entries = _read_index(content)
            spec = zoo.from_dict(entries["network"])
            shapes = _shapes(spec)
            if entries["layers"] != _weight_shapes(spec):
                raise _Damage("its tensors are not those of its network")
            dtype = np.dtype(DTYPES[entries["dtype"]])
            optimizer = entries["optimizer"] or []
            sizes = [*map(math.prod, shapes.values()), *(spec.parameters for _ in optimizer)]
            payload = _read_payload(content, sum(sizes) * dtype.itemsize)
        if hashlib.sha256(payload).hexdigest() != entries["payload_sha256"]:
            raise _Damage("its tensors don't have the checksum in its index")
        # One copy of everything, in the byte order of this machine; the tensors are views of it.
        flat = np.frombuffer(payload, dtype).astype(entries["dtype"])
        parts = np.split(flat, np.cumsum(sizes)[:-1])
        return Checkpoint(
            spec=spec,
            state={name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts)},
            classes=entries["classes"],
            mean=entries["mean"],
            std=entries["std"],
            metrics=entries["metrics"],
            provenance=entries["provenance"],
            optimizer=None if entries["optimizer"] is None else dict(zip(optimizer, parts[len(shapes) :])),
            training=entries["training"],
        )
    except (_Damage, CheckpointError, OptionError) as error:
        why = str(error)
    except Exception as error:
        # h5py answers damage with any of OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError and more.
        why = " ".join(f"{type(error).__name__}: {error}".split())
    raise CheckpointError(
        f"the checkpoint {shown} is damaged or not from minisqx ({why}); copy it again from where it came, or train again"
    )


def _read_index(content: h5py.File) -> dict:
    if set(content) != {"payload", "index"} or set(content.attrs) != {"index_sha256"}:
        raise _Damage("expected a payload, an index and its checksum, and nothing else")
    for name in ("payload", "index"):
        if not isinstance(content.get(name, getlink=True), h5py.HardLink) or content.get(name, getclass=True) is not h5py.Dataset:
            raise _Damage(f"the {name} lies somewhere else")
        # Nothing that is compressed, computed, or kept in another file.
        plan = content[name].id.get_create_plist()
        if plan.get_layout() != h5py.h5d.CONTIGUOUS or plan.get_nfilters() or plan.get_external_count():
            raise _Damage(f"the {name} is not stored as it is")
    index = content["index"]
    kind = index.id.get_type()
    if (
        index.shape != ()
        or not isinstance(kind, h5py.h5t.TypeStringID)
        or kind.is_variable_str()
        or kind.get_size() > MOST_INDEX_BYTES
    ):
        raise _Damage("the index is not one short string")
    text = bytes(index[()])
    if content.attrs["index_sha256"] != np.bytes_(hashlib.sha256(text).hexdigest()):
        raise _Damage("its index doesn't have its checksum")
    entries = json.loads(text)
    if not isinstance(entries, dict) or entries.get("format") != FORMAT:
        raise _Damage("its index is of another kind")
    if entries.get("version") != VERSION:
        raise _Damage(f"it has version {entries.get('version')!r} of the format, this minisqx reads version {VERSION}")
    return entries


def _read_payload(content: h5py.File, size: int) -> bytes:
    payload = content["payload"]
    if payload.shape != (size,) or payload.dtype != np.uint8:
        raise _Damage(f"its payload is {payload.dtype} {payload.shape}, its network needs {size} bytes")
    return payload[()].tobytes()
