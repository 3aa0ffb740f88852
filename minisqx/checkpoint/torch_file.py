"""State dicts of PyTorch, both ways, with the extra `torch`.

Ours have the names of `public_names`, so they load into public code and into the module that `minisqx export MODEL net.py`
writes. The description of the network is in their `_metadata`, where PyTorch keeps the versions of modules, so a file is a plain
state dict.
"""

import io
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from minisqx.checkpoint.foreign import DESCRIBED, ENTRY, described, description, imported, spec_of, taken
from minisqx.checkpoint.model_file import Checkpoint
from minisqx.checkpoint.public_names import COUNTER, torch_names
from minisqx.errors import CheckpointError
from minisqx.spec import NetworkSpec

if TYPE_CHECKING:
    import torch


def torch_state_dict(checkpoint: Checkpoint) -> "OrderedDict[str, torch.Tensor]":
    """PyTorch's name -> tensor, a copy, of every parameter, running statistic and counter of batches (0).

    Raises MissingExtraError without PyTorch.
    """
    torch = imported("torch")
    found: OrderedDict[str, Any] = OrderedDict()
    for ours, theirs in torch_names(checkpoint.spec).items():
        found[theirs] = torch.from_numpy(checkpoint.state[ours].copy())
        if ours.endswith(".running_var") and theirs != ours:
            found[f"{theirs.removesuffix('running_var')}{COUNTER}"] = torch.tensor(0)
    found._metadata = OrderedDict({"": {"version": 1, ENTRY: description(checkpoint)}})  # type: ignore[attr-defined]
    return found


def torch_file(checkpoint: Checkpoint) -> bytes:
    """A file that `torch.load(path, weights_only=True)` reads. Raises MissingExtraError without PyTorch."""
    file = io.BytesIO()
    imported("torch").save(torch_state_dict(checkpoint), file)
    return file.getvalue()


def read_torch(path: str, given: NetworkSpec | None, shown: str) -> Checkpoint:
    """The content of a file, which is read without running anything. given: its network, where it doesn't say it.

    The file holds a state dict, or a dict with one. Raises CheckpointError for a file that doesn't fit, is damaged or holds more
    than tensors and plain values, errors of PyTorch for one that it can't read, and MissingExtraError without PyTorch.
    """
    torch = imported("torch")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:  # PyTorch doesn't look at the checksums
            if damaged := archive.testzip():
                raise CheckpointError(f"{shown} is damaged: the checksum of {damaged!r} is wrong; get it again from its source")
    try:
        with warnings.catch_warnings(action="ignore"):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # Of pickle, or of a whole program (TorchScript); their texts advise to read it without care.
        if type(error).__name__ != "UnpicklingError" and "weights_only" not in str(error):
            raise
        name = re.search(r"GLOBAL (\S+)", str(error))
        what = f"it wants to run {name[1]}" if name else "it is no file of tensors"
        raise CheckpointError(
            f"{shown} is refused ({what}): only tensors and plain values are read, since all else in a PyTorch file can run any"
            " program; save torch.save(net.state_dict(), path) where it comes from"
        ) from error
    return from_state_dict(found, given, shown)


def from_state_dict(found: object, given: NetworkSpec | None, shown: str = "the state dict") -> Checkpoint:
    """The checkpoint that a state dict holds, with tensors or arrays, or a dict with one. given, shown: as in `read_torch`."""
    state = _state_dict(found, shown)
    entries = described(_description(state), shown)
    spec = spec_of(entries, given, shown)
    there = {name: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")) for name, tensor in state.items()}
    arrays = taken(there, lambda name: _array(state[name]), spec, shown)
    return Checkpoint(spec, arrays, **{name: entries[name] for name in DESCRIBED if entries})


def _state_dict(found: object, shown: str) -> Mapping[str, Any]:
    """The mapping itself, if all its values are tensors, else the only one among its values."""
    if _is_state_dict(found):
        return found  # type: ignore[return-value]
    inner = {name: value for name, value in found.items() if _is_state_dict(value)} if isinstance(found, Mapping) else {}
    if len(inner) == 1:
        return next(iter(inner.values()))
    what = f"holds {len(inner)} state dicts, {', '.join(map(repr, inner))}" if inner else "holds no state dict"
    raise CheckpointError(f"{shown} {what}: expected one, name -> tensor, as torch.save(net.state_dict(), path) writes it")


def _is_state_dict(value: object) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(name, str) and hasattr(tensor, "shape") and hasattr(tensor, "dtype") for name, tensor in value.items())


def _description(state: Mapping[str, Any]) -> str | None:
    entries: Any = getattr(state, "_metadata", None)
    for name in ("", ENTRY):
        entries = entries.get(name) if isinstance(entries, Mapping) else None
    return entries if isinstance(entries, str) else None


def _array(tensor: Any) -> np.ndarray:
    """A copy of a tensor, wherever it is."""
    return np.array(tensor if isinstance(tensor, np.ndarray) else tensor.detach().cpu().numpy(), order="C")
