"""safetensors files, both ways, with the extra `safetensors` and without PyTorch.

The tensors have the names, shapes and dtype of `Network.state_dict`. The metadata has one entry, "minisqx": the description of
the network and the SHA-256 of the tensors. It is one entry, since safetensors writes several in any order.
"""

import numpy as np

from minisqx.checkpoint.foreign import DESCRIBED, ENTRY, described, description, imported, spec_of, taken
from minisqx.checkpoint.model_file import Checkpoint
from minisqx.errors import CheckpointError
from minisqx.spec import NetworkSpec

# safetensors' names of the dtypes that a network can have.
DTYPES = {"F32": "float32", "F64": "float64"}


def safetensors_file(checkpoint: Checkpoint) -> bytes:
    """The file of a checkpoint. Raises MissingExtraError without safetensors."""
    imported("safetensors")
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in checkpoint.state.items()}
    return save(arrays, {ENTRY: description(checkpoint, sha256=checkpoint.sha256)})


def read_safetensors(path: str, given: NetworkSpec | None, shown: str) -> Checkpoint:
    """The content of a file. given: its network, where it doesn't say it. shown: the path, for errors.

    Raises CheckpointError for a file that doesn't fit or is damaged, errors of safetensors for one that it can't read, and
    MissingExtraError without safetensors.
    """
    with imported("safetensors").safe_open(path, framework="np") as file:
        entries = described((file.metadata() or {}).get(ENTRY), shown, "sha256")
        spec = spec_of(entries, given, shown)
        parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
        there = {name: (tuple(part.get_shape()), DTYPES.get(part.get_dtype(), part.get_dtype())) for name, part in parts.items()}
        # Arrays of our own: those of safetensors may lie in the file.
        state = taken(there, lambda name: np.array(file.get_tensor(name)), spec, shown)
    if entries is None:
        return Checkpoint(spec, state)
    checkpoint = Checkpoint(spec, state, **{name: entries[name] for name in DESCRIBED})
    if entries["sha256"] != checkpoint.sha256:
        raise CheckpointError(f"{shown} is damaged: the checksum of its tensors is wrong; get it again from its source")
    return checkpoint
