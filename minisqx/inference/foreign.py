"""`from_torch`, `from_safetensors`: a model from the weights of other programs."""

import os
from collections.abc import Mapping
from typing import Any

from minisqx.checkpoint.torch_file import from_state_dict
from minisqx.checkpoint.weights import PYTORCH, SAFETENSORS, read_foreign
from minisqx.errors import OptionError
from minisqx.inference.model import Model, model_of
from minisqx.spec import NetworkSpec, zoo


def from_torch(path_or_state_dict: str | os.PathLike | Mapping[str, Any], model: str | NetworkSpec | None = None) -> Model:
    """The model in a PyTorch file, or in a state dict: name -> tensor or array.

    The names are those of `Network.to_torch_state_dict`, of public PyTorch code (SqueezeNext for CIFAR-10, torchvision's
    SqueezeNet), or of `Network.state_dict`; with or without `module.` before each.
    model: the network of weights that minisqx didn't write, as a name that `minisqx models` lists or a description. Classes and
    normalisation are then unknown.

    A file is read with `weights_only=True`: nothing in it is run. Raises CheckpointError for one that is missing, damaged, holds
    more than tensors and plain values, or is for another network; the first name that differs is in the message. Raises
    MissingExtraError without PyTorch, which a state dict of arrays doesn't need.
    """
    spec = _spec(model)
    if isinstance(path_or_state_dict, Mapping):
        return model_of("the state dict", from_state_dict(path_or_state_dict, spec))
    if not isinstance(path_or_state_dict, (str, os.PathLike)):
        given = type(path_or_state_dict).__name__
        raise OptionError(f"a {given}: expected the path of a PyTorch file, or a state dict, as net.state_dict() returns it")
    return _read(path_or_state_dict, PYTORCH, spec)


def from_safetensors(path: str | os.PathLike, model: str | NetworkSpec | None = None) -> Model:
    """The model in a safetensors file.

    model: as in `from_torch`; so are the names of the tensors. Raises CheckpointError for a file that is missing, damaged or for
    another network, and MissingExtraError without safetensors.
    """
    return _read(path, SAFETENSORS, _spec(model))


def _spec(model: str | NetworkSpec | None) -> NetworkSpec | None:
    return zoo.network(model) if isinstance(model, str) else model


def _read(path: str | os.PathLike, format: str, spec: NetworkSpec | None) -> Model:
    return model_of(os.path.basename(os.fsdecode(path)), read_foreign(path, format, spec))
