"""Golden files: their format in HDF5, and how tests read and compare them.

A file holds one network's `x`, `labels`, `mask` (with dropout) and initial `state` (or its seed), and five groups of expected
tensors, float64. A group is one dataset of concatenated tensors with a JSON attribute `index`, (name, shape, stride,
float32_error) per tensor: hundreds of small datasets would take more space than their numbers.

stride: a large tensor is stored as a sample, every stride-th element of the flattened array. The stride is coprime to the
tensor's size, so the sample covers every row, column, channel and image.
float32_error: how far PyTorch's own float32 is from the stored float64, as `Expected.difference` measures it; see
`make_golden.py`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from minisqx.gradcheck import random_state
from minisqx.spec import NetworkSpec, zoo

# The expected tensors `after_three_steps` are those after this many steps of this optimizer on the same batch, with the file's
# learning rate.
STEPS = 3
OPTIMIZER = {"momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}

GROUPS = ("activations", "gradients", "evaluation", "after_one_forward", "after_three_steps")
COMPRESSED = {"compression": "gzip", "compression_opts": 9, "shuffle": True}


@dataclass(frozen=True)
class Expected:
    """One tensor of shape `shape` as PyTorch computed it; `values` are every `stride`-th element of it, flattened."""

    shape: tuple[int, ...]
    stride: int
    values: np.ndarray
    float32_error: float = math.nan

    @classmethod
    def sampled(cls, tensor: np.ndarray, max_elements: int | None) -> "Expected":
        """The whole tensor, or a sample of at most `max_elements` elements."""
        stride = 1 if max_elements is None else -(-tensor.size // max_elements)
        while math.gcd(stride, tensor.size) != 1:
            stride += 1
        return cls(tensor.shape, stride, tensor.ravel()[::stride].copy())

    def difference(self, tensor: np.ndarray) -> float:
        """The largest difference, relative to the largest expected value, or to 1 if all are zero; infinity for NaN."""
        if tensor.shape != self.shape:
            return math.inf
        largest = np.abs(self.values).max() or 1.0
        difference = np.abs(tensor.ravel()[:: self.stride].astype(np.float64) - self.values).max() / largest
        return float(difference) if np.isfinite(difference) else math.inf


@dataclass(frozen=True)
class Golden:
    """One golden file: what goes in, and what must come out. state_seed: what a large state is drawn from, see `random_state`."""

    spec: NetworkSpec
    x: np.ndarray
    labels: np.ndarray
    mask: np.ndarray | None
    state: dict[str, np.ndarray]
    expected: dict[str, dict[str, Expected]]
    state_seed: int | None = None
    lr: float = 0.1


def write(path: Path, golden: Golden, attributes: Mapping[str, str]) -> None:
    """Writes one golden file. What goes in is exact in float32 and stored so."""
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs.update(attributes)
        file.attrs["spec"] = json.dumps(golden.spec.to_dict())
        file.attrs["lr"] = golden.lr
        file.create_dataset("x", data=golden.x.astype(np.float32), **COMPRESSED)
        file.create_dataset("labels", data=golden.labels)
        if golden.mask is not None:
            file.create_dataset("mask", data=golden.mask.astype(np.uint8), **COMPRESSED)
        if golden.state_seed is not None:
            file.attrs["state_seed"] = golden.state_seed
        else:
            state = {name: Expected(a.shape, 1, a.ravel().astype(np.float32)) for name, a in golden.state.items()}
            _write_group(file, "state", state)
        for group in GROUPS:
            _write_group(file, group, golden.expected[group])


def _write_group(file: h5py.File, name: str, tensors: Mapping[str, Expected]) -> None:
    values = np.concatenate([np.empty(0), *(t.values for t in tensors.values())])
    packed = file.create_dataset(name, data=values, **(COMPRESSED if values.size else {}))
    packed.attrs["index"] = json.dumps([[key, t.shape, t.stride, t.float32_error] for key, t in tensors.items()])


def read(path: Path) -> Golden:
    """Reads one golden file; what goes in comes as float64."""
    with h5py.File(path) as file:
        spec = zoo.from_dict(json.loads(file.attrs["spec"]))
        seed = int(file.attrs["state_seed"]) if "state_seed" in file.attrs else None
        if seed is None:
            state = {name: t.values.reshape(t.shape).astype(np.float64) for name, t in _read_group(file, "state").items()}
        else:
            state = random_state(spec, np.random.default_rng(seed))
        mask = file["mask"][()].astype(np.float64) if "mask" in file else None
        expected = {group: _read_group(file, group) for group in GROUPS}
        x, labels, lr = file["x"][()].astype(np.float64), file["labels"][()], float(file.attrs["lr"])
        return Golden(spec, x, labels, mask, state, expected, seed, lr)


def _read_group(file: h5py.File, name: str) -> dict[str, Expected]:
    packed, tensors, at = file[name][()], {}, 0
    for key, shape, stride, float32_error in json.loads(file[name].attrs["index"]):
        count = -(-math.prod(shape) // stride)
        tensors[key] = Expected(tuple(shape), stride, packed[at : at + count], float32_error)
        at += count
    return tensors
