"""Our networks compute what PyTorch computed: activations, gradients, running statistics, three optimizer steps and evaluation.

The files hold PyTorch's float64, `golden/store.py` says how. PyTorch itself is not needed here.
"""

from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

import minisqx
from minisqx.spec import DropoutSpec, LinearSpec
from tests import naive
from tests.golden.store import GROUPS, OPTIMIZER, STEPS, Golden, read

FILES = sorted((Path(__file__).parent / "golden").glob("*.h5"))
IDENTIFIERS = [path.stem for path in FILES]

# Two float64 programs that sum in different orders: about 1e-16 times a few thousand terms, and what three steps of training
# make of it.
FLOAT64 = 1e-10
# Ours may round differently from PyTorch, but not worse than twice what PyTorch's own float32 does, see
# `golden/make_golden.py`. A tensor that PyTorch has right to less than a spacing of float32 is no yardstick: four roundings
# of half a spacing are always allowed.
FLOAT32 = 2
# SqueezeNet's sums of up to 576 products are one chain here; PyTorch cuts them into several, which rounds less.
FLOAT32_LONG_SUMS = 3
ROUNDINGS = 4 * 2.0**-24


def with_stored_mask(net, golden: Golden) -> None:
    """Lets the network's dropout apply the file's mask where it would draw its own."""

    def apply(x, y, arguments):
        layout = dropout.layout
        values = layout.unpack(x.data[:, x.row : x.row + x.channels]) * x.scale[:, None, None] + x.shift[:, None, None]
        layout.pack(naive.dropout(values, golden.mask, golden.spec.dropout), y.data)

    dropout = net.layers["dropout"]
    dropout.forward_call, dropout.backward_call = apply, lambda dx, arguments: apply(dx, dx, arguments)
    net._workspace.one_program = nullcontext  # NumPy reads what the layer before has written, so every layer runs at once


@lru_cache(maxsize=2)
def ours(path: Path, dtype: str) -> dict[str, dict[str, np.ndarray]]:
    """What our network makes of a file's inputs: group -> name -> array, as in the file."""
    golden = read(path)
    net = minisqx.Network(golden.spec, dtype=dtype)
    net.load_state_dict(golden.state)
    if golden.mask is not None:
        with_stored_mask(net, golden)
    optimizer = minisqx.SGD(net, lr=golden.lr, **OPTIMIZER)
    found = {"evaluation": {"logits": net.forward(golden.x, training=False)}}
    for step in range(STEPS):
        logits = net.forward(golden.x, training=True)
        loss, dlogits = minisqx.cross_entropy(logits, golden.labels)
        if step == 0:
            outputs = {"logits": logits.copy(), "loss": np.array(loss)}
            found["activations"] = {**{name: values.copy() for name, values in net.activations().items()}, **outputs}
        dx = net.backward(dlogits, input_gradient=True)
        if step == 0:
            found["gradients"] = {**{name: view.copy() for name, view in net.gradients().items()}, "input": dx}
            found["after_one_forward"] = {name: view.copy() for name, view in net.buffers().items()}
        optimizer.step()
    found["after_three_steps"] = net.state_dict()
    found["evaluation"]["logits_after_three_steps"] = net.forward(golden.x, training=False)
    return found


def test_golden_files_are_there_and_small():
    assert len(FILES) == 8
    assert sum(path.stat().st_size for path in FILES) < 2_000_000


@pytest.mark.parametrize("path", FILES, ids=IDENTIFIERS)
def test_golden_files_name_every_tensor_of_the_network(path):
    golden = read(path)
    parameters, buffers = set(golden.spec.parameter_shapes), set(golden.spec.buffer_shapes)
    outputs = {part.name for part in (*golden.spec.units, *golden.spec.convolutions)} | {"logits", "loss"}
    names = {group: set(tensors) for group, tensors in golden.expected.items()}
    assert outputs == set(ours(path, "float64")["activations"])
    # The files have no dropout, whose masks are PyTorch's own, and the classifier's output as "logits".
    left_out = {unit.name for unit in golden.spec.units if isinstance(unit, (DropoutSpec, LinearSpec))}
    assert names["activations"] == outputs - left_out
    assert names["gradients"] == parameters | {"input"}
    assert names["after_one_forward"] == buffers
    assert names["after_three_steps"] == set(golden.state) == parameters | buffers


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("path", FILES, ids=IDENTIFIERS)
def test_float64_is_pytorchs(path, group):
    for name, expected in read(path).expected[group].items():
        assert expected.difference(ours(path, "float64")[group][name]) <= FLOAT64, name


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("path", FILES, ids=IDENTIFIERS)
def test_float32_is_no_further_than_twice_pytorchs_own(path, group):
    for name, expected in read(path).expected[group].items():
        array = ours(path, "float32")[group][name]
        assert array.dtype == np.float32 or name == "loss"
        times = FLOAT32_LONG_SUMS if path.stem.startswith("squeezenet_") else FLOAT32
        assert expected.difference(array) <= max(times * expected.float32_error, ROUNDINGS), name
