"""safetensors files, both ways, with the extra `safetensors` and without PyTorch.

The tensors have the names, shapes and dtype of `Network.state_dict`. The metadata has one entry, "minisqx", in JSON: the
description of the network, classes, normalisation, metrics and provenance, and the SHA-256 of the tensors. It is one entry, since
safetensors writes several in any order.
"""

import json
import os
import stat
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from minisqx.checkpoint import Checkpoint
from minisqx.checkpoint.model_file import ABSENT, DTYPES, MAX_INDEX_BYTES
from minisqx.errors import CheckpointError, MinisqxError, MissingExtraError
from minisqx.inference.model import Model, model_of
from minisqx.spec import NetworkSpec, zoo

ENTRY = "minisqx"
DESCRIBED = ("classes", "mean", "std", "metrics", "provenance", "temperature", "threshold")
# safetensors' names of the dtypes that a network can have.
FILE_DTYPES = {"F32": "float32", "F64": "float64"}


def safetensors_file(model: Model) -> bytes:
    """The file of a model. Raises MissingExtraError without safetensors."""
    _import("safetensors")
    from safetensors.numpy import save

    checkpoint = checkpoint_of(model)
    entries = {"network": model.spec.to_dict(), "sha256": checkpoint.sha256}
    entries |= {name: value for name in DESCRIBED if (value := getattr(checkpoint, name)) != ABSENT.get(name, ...)}
    text = json.dumps(entries, ensure_ascii=False)
    return save({name: np.ascontiguousarray(array) for name, array in checkpoint.state.items()}, {ENTRY: text})


def checkpoint_of(model: Model) -> Checkpoint:
    """The checkpoint that `load` makes the model of."""
    return Checkpoint(model.spec, model.state, **{name: getattr(model, name) for name in DESCRIBED})


def from_safetensors(path: str | os.PathLike, model: str | NetworkSpec | None = None) -> Model:
    """The model in a safetensors file.

    model: the network of a file that minisqx didn't write, as a name that `minisqx models` lists or a description. Its tensors
    must have the names and shapes of `Network.state_dict`. Classes and normalisation are then unknown.

    Raises CheckpointError for a file that is missing, damaged or for another network, and MissingExtraError without safetensors.
    """
    safe_open = _import("safetensors").safe_open
    shown = repr(os.fspath(path))
    given = zoo.network(model) if isinstance(model, str) else model
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise CheckpointError(f"{shown} is not a file; expected a safetensors file")
        with safe_open(path, framework="np") as file:
            read = _read(file, given, shown)
        return model_of(os.path.basename(os.fsdecode(path)), read)
    except MinisqxError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{shown} is damaged or not from minisqx ({error})") from error
    except FileNotFoundError:
        raise CheckpointError(f"there is no file {shown}; expected a safetensors file") from None
    except Exception as error:
        # safetensors' own errors, unforeseen JSON values, errors of the disk.
        why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise CheckpointError(f"{shown} can't be read as a safetensors file ({why}); get it again from its source") from error


def _read(file, given: NetworkSpec | None, shown: str) -> Checkpoint:
    """The content of an open file. given: its network, where it doesn't say."""
    entries = _entries(file.metadata(), shown)
    spec = given if entries is None else zoo.from_dict(entries["network"])
    if spec is None:
        raise CheckpointError(f"{shown} doesn't describe its network: name it, as in --model {zoo.DEFAULT}")
    if given is not None and spec != given:
        raise CheckpointError(f"{shown} is a {spec.name}, not the {given.name} that was named; leave the name out")
    _check_tensors(file, spec, shown)
    # Arrays of our own: those of safetensors may lie in the file.
    state = {name: np.array(file.get_tensor(name)) for name in (*spec.parameter_shapes, *spec.buffer_shapes)}
    if entries is None:
        return Checkpoint(spec, state)
    checkpoint = Checkpoint(spec, state, **{name: entries[name] for name in DESCRIBED if name in entries})
    if entries["sha256"] != checkpoint.sha256:
        raise CheckpointError(f"{shown} is damaged: the checksum of its tensors is wrong; get it again from its source")
    return checkpoint


def _entries(metadata: dict[str, str] | None, shown: str) -> dict[str, Any] | None:
    """Our entries of the metadata; None if a file has none."""
    text = (metadata or {}).get(ENTRY)
    if text is None:
        return None
    if len(text) > MAX_INDEX_BYTES:
        raise CheckpointError(f"{shown}: its description has {len(text)} characters; expected at most {MAX_INDEX_BYTES}")
    entries = json.loads(text)
    expected = {"network", "sha256", *DESCRIBED}
    if not isinstance(entries, dict) or (set(entries) ^ expected) - set(ABSENT):
        raise CheckpointError(f"{shown}: its description has missing or unknown entries; expected {', '.join(sorted(expected))}")
    return entries


def _check_tensors(file, spec: NetworkSpec, shown: str) -> None:
    """Raises CheckpointError for the first tensor that doesn't fit, before any is read."""
    there, shapes = set(file.keys()), {**spec.parameter_shapes, **spec.buffer_shapes}
    for name, shape in shapes.items():
        if name not in there:
            raise CheckpointError(f"{shown} has no tensor {name!r}, which {spec.name} needs")
        part = file.get_slice(name)
        if tuple(part.get_shape()) != shape:
            raise CheckpointError(f"{shown}: {name} has shape {tuple(part.get_shape())}, {spec.name} needs {shape}")
        if part.get_dtype() not in FILE_DTYPES:
            raise CheckpointError(f"{shown}: {name} is {part.get_dtype()}, expected {' or '.join(DTYPES)}")
    if more := sorted(there - set(shapes)):
        raise CheckpointError(f"{shown} has a tensor {more[0]!r}, which {spec.name} doesn't know")


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise MissingExtraError(f"{name} is not installed: pip install 'minisqx[{name}]'") from error
