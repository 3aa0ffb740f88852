"""docs/extending.md, applied as it stands to a copy of the package: the page cannot drift from the code."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
# In the repository, and where the package is installed.
PLACES = {"minisqx": "minisqx", "kernels": "minisqx/kernels", "data": "minisqx/data", "tests": "tests"}
EDIT = re.compile(
    r"In `([\w/]+\.py)`, (a new file|before the line|after the line|in place of the line)(?: `(.+?)`)?:\n\n```python\n(.*?)```",
    re.DOTALL,
)


def edited(text: str, how: str, start: str, code: str) -> str:
    """The file with `code` before, after or in place of the only line that begins with `start`."""
    lines = text.splitlines(keepends=True)
    (at,) = [number for number, line in enumerate(lines) if line.strip().startswith(start)]
    first, last = {"before the line": (at, at), "after the line": (at + 1, at + 1), "in place of the line": (at, at + 1)}[how]
    return "".join([*lines[:first], code, *lines[last:]])


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The package and the naive network, laid out as they are installed, with everything that the page adds."""
    folder = tmp_path_factory.mktemp("extended")
    for name, place in PLACES.items():
        ignored = shutil.ignore_patterns("__pycache__", *(["test_*.py", "golden", "stress"] if name == "tests" else []))
        shutil.copytree(ROOT / name, folder / place, ignore=ignored)
    for file, how, start, code in EDIT.findall(PAGE):
        top, _, rest = file.partition("/")
        path = folder / PLACES[top] / rest
        if how == "a new file":
            assert not path.exists()
            path.write_text(code, encoding="utf-8")
        else:
            path.write_text(edited(path.read_text(encoding="utf-8"), how, start, code), encoding="utf-8")
    return folder


def python(copy: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(copy), "MINISQX_CACHE": str(copy / "cache")}
    return subprocess.run([sys.executable, *arguments], cwd=copy, env=environment, capture_output=True, text=True, timeout=600)


def minisqx(copy: Path, *arguments: str) -> str:
    done = python(copy, "-m", "minisqx", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_piece_of_code_on_the_page_has_its_place():
    assert len(EDIT.findall(PAGE)) == PAGE.count("```python\n") == 22


def test_the_activation_of_the_page_has_right_gradients_in_every_layer(copy):
    checked = minisqx(copy, "gradcheck", "--activation", "leaky-relu", "--width", "0.125", "--input-size", "12")
    assert "stage4.block1.conv5" in checked


def test_the_activation_of_the_page_has_its_name_in_help_and_picture(copy):
    assert "leaky-relu" in minisqx(copy, "train", "--help")
    minisqx(copy, "draw", "--activation", "leaky-relu", "--out", "leaky.svg")
    assert "Leaky ReLU" in (copy / "leaky.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize("order", ["conv-act-bn", "conv-bn-act"])
def test_the_unit_of_the_page_has_right_gradients(order, copy):
    """Before it, a scale and a shift are deferred, or these and an activation; 39 pixels make maps of odd sides."""
    checked = minisqx(copy, "gradcheck", "--model", "lenet-5", "--block-order", order, "--input-size", "39,44")
    assert all(re.search(rf"^{layer} ", checked, re.MULTILINE) for layer in ("input", "conv1", "conv4", "classifier"))


COMPARE = """
import numpy as np
from minisqx.gradcheck import random_state
from minisqx.kernels.layout import Layout
from minisqx.network import Network
from minisqx.spec import HalvingPoolSpec, zoo
from minisqx.training.memory import _unit
from tests.naive_network import NaiveNetwork

for order in ("conv-act-bn", "conv-bn-act"):
    spec = zoo.from_dict(zoo.network("lenet-5", block_order=order, input_size=(39, 44)).to_dict())
    generator = np.random.default_rng(0)
    state, x = random_state(spec, generator), generator.normal(size=(11, 3, 39, 44))
    net, naive = Network(spec, dtype="float64"), NaiveNetwork(spec, state)
    net.load_state_dict(state)
    dlogits = generator.normal(size=(11, 10))

    def close(ours, theirs):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12 * max(1, np.abs(theirs).max()))

    # Inference, and one image alone.
    expected = naive.forward(x, training=False)
    close(net.forward(x), expected)
    assert np.array_equal(net.forward(x[4:5])[0], net.forward(x)[4])
    # Training: every layer's output and every gradient. A sum over a batch is rounded in another order, and batch norm divides
    # by deviations that may be small.
    naive.forward(x, training=True)
    logits, outputs = net.forward(x, training=True), net.activations()
    for name, output in naive.activations.items():
        close(logits if name == "logits" else outputs[name], output)
    dx = naive.backward(dlogits)
    np.testing.assert_allclose(net.backward(dlogits, input_gradient=True), dx, rtol=0, atol=1e-10 * np.abs(dx).max())
    for name, gradient in naive.gradients.items():
        largest = max(np.abs(gradient).max(), 1e-3)
        np.testing.assert_allclose(net.gradients()[name], gradient, rtol=0, atol=1e-10 * largest)

# The memory estimate counts what the layer keeps, in float32.
unit = next(unit for unit in spec.units if isinstance(unit, HalvingPoolSpec))
net = Network(spec)
net.forward(x, training=True)
layer = net.layers["pool1"]
y, dy, dx, _ = layer.buffers_for(layer.x.layout)
assert sum(_unit(unit, layer.x.layout)) == y.data.nbytes + dy.nbytes + dx.stored.nbytes
print("the same")
"""


def test_the_unit_of_the_page_is_its_naive_twin_and_its_memory_is_known(copy):
    done = python(copy, "-c", COMPARE)
    assert done.stdout == "the same\n", done.stderr


def test_the_unit_of_the_page_is_drawn_and_its_network_is_listed(copy):
    minisqx(copy, "draw", "--model", "lenet-5", "--out", "lenet.svg")
    cards = {card.get("data-name"): card for card in ElementTree.parse(copy / "lenet.svg").iter() if card.get("data-name")}
    assert (cards["pool1"].get("data-output"), cards["pool2"].get("data-output")) == ("6 x 14 x 14", "16 x 5 x 5")
    said = " ".join(cards["pool1"].itertext())
    assert "average pool 2x2 / 2" in said and "the mean of each 2x2 window, every 2 pixels" in said
    assert "lenet-5" in minisqx(copy, "models")
