"""What files of other programs need: our description of a network as text, and which of their tensors is which of ours."""

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from minisqx.checkpoint.model_file import DTYPES, MAX_INDEX_BYTES, Checkpoint
from minisqx.checkpoint.public_names import COUNTER, torch_names
from minisqx.errors import CheckpointError, MissingExtraError
from minisqx.spec import NetworkSpec, zoo

ENTRY = "minisqx"  # the name of our description among a file's metadata
DESCRIBED = ("classes", "mean", "std", "metrics", "provenance")
WRAPPERS = ("module.", "_orig_mod.")  # before each name: of DataParallel, and of torch.compile

Shape = tuple[int, ...]


def imported(extra: str) -> ModuleType:
    """The package of an extra of the same name. Raises MissingExtraError without it."""
    try:
        return import_module(extra)
    except ImportError as error:
        raise MissingExtraError(f"{extra} is not installed: pip install 'minisqx[{extra}]'") from error


def description(checkpoint: Checkpoint, **more: str) -> str:
    """The network, classes, normalisation, metrics and provenance in JSON, and more entries."""
    described = {name: getattr(checkpoint, name) for name in DESCRIBED}
    return json.dumps({"network": checkpoint.spec.to_dict(), **more, **described}, ensure_ascii=False)


def described(text: str | None, shown: str, *more: str) -> dict[str, Any] | None:
    """The entries of a description; None without one. shown: the file, for errors. more: names of further entries."""
    if text is None:
        return None
    if len(text) > MAX_INDEX_BYTES:
        raise CheckpointError(f"{shown}: its description has {len(text)} characters; expected at most {MAX_INDEX_BYTES}")
    entries = json.loads(text)
    expected = {"network", *more, *DESCRIBED}
    if not isinstance(entries, dict) or set(entries) != expected:
        raise CheckpointError(f"{shown}: its description has missing or unknown entries; expected {', '.join(sorted(expected))}")
    return entries


def spec_of(entries: dict[str, Any] | None, given: NetworkSpec | None, shown: str) -> NetworkSpec:
    """The network that a file describes, or the given one. Raises CheckpointError for neither, and for two that differ."""
    spec = given if entries is None else zoo.from_dict(entries["network"])
    if spec is None:
        raise CheckpointError(f"{shown} doesn't describe its network: name it, as in --model {zoo.DEFAULT}")
    if given is not None and spec != given:
        raise CheckpointError(f"{shown} is a {spec.name}, not the {given.name} that was named; leave the name out")
    return spec


def taken(
    there: Mapping[str, tuple[Shape, str]], read: Callable[[str], np.ndarray], spec: NetworkSpec, shown: str
) -> dict[str, np.ndarray]:
    """The state of a network from a file of others.

    there: the file's name -> (shape, dtype) of each tensor; read: its array. The names are those of `Network.state_dict` or of
    public PyTorch code, with or without one of `WRAPPERS` before each. Convolutions before a batch norm may all lack their bias,
    which is then 0; counters of batches are ignored. Raises CheckpointError for the first tensor that is missing, doesn't fit or
    is unknown, before any is read.
    """
    names = _names(there, spec, shown)
    biases = {f"{layer.name}.bias" for layer in spec.convolutions if layer.has_norm}
    absent = set() if any(names[bias] in there for bias in biases) else biases
    shapes = {name: shape for name, shape in _shapes(spec).items() if name not in absent}
    for name, shape in shapes.items():
        theirs = names[name]
        if theirs not in there:
            raise CheckpointError(f"{shown} has no tensor {theirs!r}, which {spec.name} needs")
        given, dtype = there[theirs]
        if given != shape:
            raise CheckpointError(f"{shown}: {theirs} has shape {given}, {spec.name} needs {shape}")
        if dtype not in DTYPES:
            raise CheckpointError(f"{shown}: {theirs} is {dtype}, expected {' or '.join(DTYPES)}")
    unknown = sorted(there.keys() - set(names.values()))
    if more := [name for name in unknown if not name.endswith(f".{COUNTER}")]:
        raise CheckpointError(f"{shown} has a tensor {more[0]!r}, which {spec.name} doesn't know")
    state = {name: read(names[name]) for name in shapes}
    state |= {bias: np.zeros_like(state[bias.removesuffix("bias") + "weight"][:, 0, 0, 0]) for bias in absent}
    return {name: state[name] for name in names}


def _shapes(spec: NetworkSpec) -> dict[str, Shape]:
    return {**spec.parameter_shapes, **spec.buffer_shapes}


def _names(there: Mapping[str, object], spec: NetworkSpec, shown: str) -> dict[str, str]:
    """Our name -> the file's: of the two ways to name the tensors, the one of which the file has more."""
    wrapper = _wrapper(there)
    ours = {name: wrapper + name for name in _shapes(spec)}
    public = torch_names(spec)
    theirs = {name: wrapper + public[name] for name in ours}
    names = max(ours, theirs, key=lambda known: len(there.keys() & set(known.values())))
    if not there.keys() & set(names.values()):
        first = next(iter(ours))
        found = f"its first tensor is {next(iter(there))!r}" if there else "it has no tensors"
        raise CheckpointError(f"{shown} is no {spec.name}: expected tensors like {ours[first]!r} or {theirs[first]!r}; {found}")
    return names


def _wrapper(names: Mapping[str, object]) -> str:
    """What is before each name."""
    found = ""
    while inner := [wrapper for wrapper in WRAPPERS if names and all(name.startswith(found + wrapper) for name in names)]:
        found += inner[0]
    return found
