"""Makes the golden files beside it with PyTorch: `pip install 'minisqx[golden]'`, then `python -m tests.golden.make_golden`.

Each file is one small network with a random state in which no gamma is 1 and no bias, beta or mean is 0, so that a swapped or
missing term shows. Expected tensors are float64. `store.py` describes the format.

Every tensor has the error of PyTorch's own float32: the largest of 72 runs that differ only in rounding, since a single run can
be close by chance (compared with one other run of PyTorch, half of the groups of tensors have one with over twice its error).
The runs are the images in 24 orders, each with oneDNN's kernels, with PyTorch's own, and with its own on channels-last tensors.
oneDNN on channels-last tensors is omitted: it writes past its workspace in a strided 1x1 convolution of fewer than 16 channels
(uxlfoundation/oneDNN issue 6035). It takes one to five minutes.
"""

import dataclasses
import platform
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import h5py
import numpy as np
import torch
from torch.nn import functional

from minisqx.gradcheck import random_state
from minisqx.spec import DropoutSpec
from minisqx.spec.squeezenet import SqueezeNetSpec
from minisqx.spec.squeezenext import BASELINE, SqueezeNextSpec
from tests import torch_twin
from tests.golden.store import OPTIMIZER, STEPS, Expected, Golden, write

SEED = 2
ORDERS = 24
TINY = (0.125, (1, 1, 1, 1))

# With this few stored elements per tensor, all tensors are sampled, and the state is stored only as its seed.
FEW = 64

# name -> (batch, maximum of stored elements per tensor of activations, spec)
CASES = {
    "every_element": (4, None, SqueezeNextSpec(*TINY, dropout=0.0, input_size=(16, 16))),
    "more_blocks": (4, 256, SqueezeNextSpec(0.2, (1, 2, 2, 1), dropout=0.0)),
    "public_code": (5, 256, SqueezeNextSpec(0.2, dropout=0.0, block_order="conv-bn-act", stem_padding=1)),
    "other_options": (
        4,
        256,
        SqueezeNextSpec(
            0.125,
            (1, 2, 2, 1),
            num_classes=7,
            dropout=0.0,
            input_size=(48, 40),
            separable_order="3x1-1x3",
            shortcut_activation=False,
        ),
    ),
    "dropout": (4, 256, SqueezeNextSpec(*TINY, dropout=0.3)),
    "squeezenext": (4, FEW, SqueezeNextSpec(0.25, (2, 1, 1, 1), **BASELINE)),
    "squeezenet_10": (3, FEW, SqueezeNetSpec("1.0")),
    "squeezenet_11": (3, FEW, SqueezeNetSpec("1.1")),
}
# Without batch norm, or with ReLU and few channels, three steps at 0.1 diverge, with results that depend on rounding.
LR = {"squeezenext": 1e-3, "squeezenet_10": 1e-4, "squeezenet_11": 1e-4}


def run(golden: Golden, dtype: torch.dtype, memory_format: torch.memory_format) -> dict[str, dict[str, np.ndarray]]:
    """One forward, one backward and three optimizer steps on the same batch: group -> name -> whole tensor."""
    twin = torch_twin.TorchTwin(golden.spec, golden.mask)
    twin.to(dtype)
    torch_twin.to_torch(golden.state, twin)
    twin.to(memory_format=memory_format)
    x = torch.as_tensor(golden.x).to(dtype).to(memory_format=memory_format).requires_grad_()
    labels = torch.as_tensor(golden.labels)
    found: dict[str, dict[str, np.ndarray]] = {"evaluation": {"logits": twin.eval()(x).detach().numpy().copy()}}
    twin.train()
    optimizer = torch.optim.SGD(twin.parameters(), lr=golden.lr, **OPTIMIZER)
    for step in range(STEPS):
        optimizer.zero_grad()
        logits, activations = torch_twin.forward_with_activations(twin, x)
        loss = functional.cross_entropy(logits, labels)
        loss.backward()
        if step == 0:
            found["activations"] = {**activations, "logits": logits.detach().numpy().copy(), "loss": loss.detach().numpy().copy()}
            found["gradients"] = {**torch_twin.gradients(twin), "input": x.grad.numpy().copy()}
            found["after_one_forward"] = {name: t for name, t in torch_twin.from_torch(twin).items() if ".running_" in name}
        optimizer.step()
    found["after_three_steps"] = torch_twin.from_torch(twin)
    found["evaluation"]["logits_after_three_steps"] = twin.eval()(x).detach().numpy().copy()
    for layer in golden.spec.convolutions:
        # A bias straight before a batch norm changes nothing. PyTorch's gradient is rounding noise around the true zero.
        if dtype == torch.float64 and layer.has_norm and (layer.order == "conv-bn-act" or not layer.activation):
            found["gradients"][f"{layer.name}.bias"][:] = 0
    return found


def float32_runs(golden: Golden, generator: np.random.Generator) -> Iterator[dict[str, dict[str, np.ndarray]]]:
    """The same in float32: the images in several orders, each in PyTorch's three ways. Results are in the file's order."""
    for _ in range(ORDERS):
        order = generator.permutation(len(golden.x))
        mask = None if golden.mask is None else golden.mask[order]
        permuted = dataclasses.replace(golden, x=golden.x[order], labels=golden.labels[order], mask=mask)
        for onednn, memory_format in (
            (True, torch.contiguous_format),
            (False, torch.contiguous_format),
            (False, torch.channels_last),
        ):
            with torch.backends.mkldnn.flags(enabled=onednn):
                found = run(permuted, torch.float32, memory_format)
            for group, name, tensor in ((g, n, t) for g, tensors in found.items() for n, t in tensors.items()):
                if name == "input" or group in ("activations", "evaluation") and name != "loss":
                    found[group][name] = tensor[np.argsort(order)]
            yield found


def make(name: str) -> Golden:
    """The golden file of one case, ready to be written."""
    batch, most, spec = CASES[name]
    generator = np.random.default_rng([SEED, zlib.crc32(name.encode())])
    x = np.round(generator.normal(0, 1, (batch, 3, *spec.input_size)) * 256) / 256
    labels = generator.integers(0, spec.num_classes, batch)
    mask = None
    if spec.dropout:
        dropped = next(unit for unit in spec.units if isinstance(unit, DropoutSpec))
        mask = (generator.random((batch, *dropped.output_shape)) >= spec.dropout).astype(np.float64)
    state_seed = int(generator.integers(2**31)) if most == FEW else None
    state = random_state(spec, generator if state_seed is None else np.random.default_rng(state_seed))
    golden = Golden(spec, x, labels, mask, state, {}, state_seed, LR.get(name, 0.1))
    for group, tensors in run(golden, torch.float64, torch.contiguous_format).items():
        golden.expected[group] = {
            key: Expected.sampled(tensor, most if group == "activations" or key == "input" or state_seed is not None else None)
            for key, tensor in tensors.items()
        }
    errors: dict[tuple[str, str], float] = {}
    for found in float32_runs(golden, generator):
        for group, tensors in golden.expected.items():
            for key, expected in tensors.items():
                errors[group, key] = max(errors.get((group, key), 0.0), expected.difference(found[group][key]))
    for (group, key), error in errors.items():
        golden.expected[group][key] = dataclasses.replace(golden.expected[group][key], float32_error=error)
    return golden


def main() -> None:
    attributes = {
        "generator": "tests/golden/make_golden.py",
        "versions": f"PyTorch {torch.__version__}, NumPy {np.__version__}, h5py {h5py.__version__}, "
        f"Python {platform.python_version()}",
        "seed": str(SEED),
        "date": datetime.now(UTC).date().isoformat(),
    }
    folder = Path(__file__).parent
    for name in CASES:
        path = folder / f"{name}.h5"
        write(path, make(name), attributes)
        print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
