"""PyTorch, both ways: the same bits and logits, the names of public code, and no file runs anything."""

import ast
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pytest

import minisqx
from minisqx.checkpoint.public_names import COUNTER, torch_names
from minisqx.errors import CheckpointError, MissingExtraError, OptionError
from minisqx.formats.torch_module import module_source
from minisqx.network import Network
from minisqx.spec import zoo
from minisqx.spec.squeezenext import SqueezeNextSpec
from tests.exported_models import NETWORKS, ODD, images_for, logits_of, model_of
from tests.torch_modules import imported, module_logits

SMALL = "shallow-06-0.125x"
WITH_TORCH = "there is no torch: pip install 'minisqx[torch]'"
try:
    import torch
except ImportError:
    torch = None
needs_torch = pytest.mark.skipif(torch is None, reason=WITH_TORCH)


def public_state(model) -> dict[str, np.ndarray]:
    """The state under the names of public code, as arrays: reading them needs no PyTorch."""
    return {theirs: model.state[ours] for ours, theirs in torch_names(model.spec).items()}


def same_bits(state, other) -> bool:
    return list(state) == list(other) and all(state[name].tobytes() == array.tobytes() for name, array in other.items())


@needs_torch
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_comes_back_from_pytorch_with_the_same_bits(name, tmp_path):
    model = model_of(name)
    assert minisqx.export(model, tmp_path / "net.pt") == [tmp_path / "net.pt"]
    for back in (
        minisqx.from_torch(tmp_path / "net.pt"),
        minisqx.load(tmp_path / "net.pt"),
        minisqx.from_torch(model.network.to_torch_state_dict()),
        minisqx.from_torch(torch.load(tmp_path / "net.pt", weights_only=True)),
    ):
        assert (back.spec, back.classes, back.mean, back.std) == (model.spec, model.classes, model.mean, model.std)
        assert same_bits(back.state, model.state)


@needs_torch
@pytest.mark.parametrize("name", NETWORKS)
def test_the_module_gives_the_logits_of_every_network(name, tmp_path):
    model = model_of(name)
    images = images_for(model)
    assert np.abs(module_logits(model, images, tmp_path) - logits_of(model, images)).max() < 1e-5


@needs_torch
@pytest.mark.parametrize("name", ["shallow-06-0.2x", "shallow-12-0.4x", "squeezenet-v1.0", "squeezenext-23-1x-v5", ODD])
def test_in_float64_the_module_gives_the_same_logits_to_rounding(name, tmp_path):
    model = model_of(name, dtype="float64")
    images = images_for(model)
    found = module_logits(model, images, tmp_path)
    assert found.dtype == np.float64 and np.abs(found - logits_of(model, images)).max() < 1e-10


@needs_torch
@pytest.mark.parametrize("order", ["conv-act-bn", "conv-bn-act"])
@pytest.mark.parametrize("activation", ["elu", "relu"])
def test_every_option_of_a_block_is_in_the_module(activation, order, tmp_path):
    options = {"activation": activation, "block_order": order, "shortcut_activation": activation == "relu", "stem_padding": 1}
    options |= {"separable_order": "3x1-1x3" if order == "conv-act-bn" else "1x3-3x1"}
    spec = SqueezeNextSpec(width=0.2, blocks=(2, 1, 2, 1), input_size=(33, 21), num_classes=3, **options)
    model = model_of(spec, "abc", "float64")
    images = images_for(model)
    assert np.abs(module_logits(model, images, tmp_path) - logits_of(model, images)).max() < 1e-10


@needs_torch
def test_what_pytorch_trained_further_comes_back(tmp_path):
    model = model_of(SMALL)
    minisqx.export(model, tmp_path / "net.py")
    module = imported(tmp_path / "net.py")
    net, images = module.load().train(), torch.as_tensor(images_for(model, 8))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(net(module.normalised(images)), torch.arange(8)).backward()
    optimizer.step()
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1}, tmp_path / "tuned.pth")
    back = minisqx.load(tmp_path / "tuned.pth", model.classes, model.mean, model.std, network=model.spec)
    assert not same_bits(back.state, model.state)
    logits = net.eval()(module.normalised(images)).detach().numpy()
    assert np.abs(logits_of(back, images.numpy()) - logits).max() < 1e-5


def test_the_names_are_those_of_public_code():
    names = list(torch_names(zoo.network("squeezenext-23-1x-v5")).values())
    block = [f"stage1.0.{part}" for n in range(1, 6) for part in (f"conv{n}", f"bn{n}")]
    modules = list(dict.fromkeys(name.rpartition(".")[0] for name in names))
    assert modules[:12] == ["conv1", "bn1", *block]
    assert modules[12:14] == ["stage1.0.shortcut.0", "stage1.0.shortcut.1"] and modules[14] == "stage1.1.conv1"
    assert modules[-3:] == ["conv2", "bn2", "linear"] and "stage3.13.bn5" in modules and "stage3.14.bn5" not in modules
    assert names[:6] == [*("conv1.weight", "conv1.bias", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var")]
    for version, numbers in {"1.0": [3, 4, 5, 7, 8, 9, 10, 12], "1.1": [3, 4, 6, 7, 9, 10, 11, 12]}.items():
        names = set(torch_names(zoo.network(f"squeezenet-v{version}")).values())
        assert sorted({int(name.split(".")[1]) for name in names if name.endswith("squeeze.weight")}) == numbers
        assert {"features.0.weight", "features.3.expand1x1.bias", "features.12.expand3x3.bias", "classifier.1.bias"} <= names


@pytest.mark.parametrize("name", ["shallow-06-0.2x", "squeezenet-v1.1", "squeezenext-23-1x-v1"])
@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.module."])
def test_a_state_dict_of_public_code_is_understood(name, wrapper):
    model = model_of(name)
    state = {wrapper + theirs: array for theirs, array in public_state(model).items()}
    state |= {f"{key.removesuffix('running_var')}{COUNTER}": np.array(7) for key in state if key.endswith("running_var")}
    for found in (state, {"epoch": 3, "state_dict": state, "optimizer": {"state": {}}}):
        back = minisqx.from_torch(found, name)
        assert back.spec == model.spec and back.classes is None and same_bits(back.state, model.state)


def test_convolutions_without_biases_before_their_batch_norms_have_biases_of_0():
    model = model_of(SMALL)
    names = torch_names(model.spec)
    biases = {names[f"{layer.name}.bias"] for layer in model.spec.convolutions}
    state = {key: array for key, array in public_state(model).items() if key not in biases}
    back = minisqx.from_torch(state, SMALL)
    for key, array in model.state.items():
        expected = np.zeros_like(array) if key.endswith(".bias") and key != "classifier.bias" else array
        assert back.state[key].tobytes() == expected.tobytes()
    state["conv1.bias"] = model.state["stem.bias"]  # then none may be missing
    with pytest.raises(CheckpointError, match="no tensor 'stage1.0.conv1.bias', which shallow-06-0.125x needs"):
        minisqx.from_torch(state, SMALL)


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda state: state.pop("stage1.0.bn3.weight"), "the state dict has no tensor 'stage1.0.bn3.weight', which shallow"),
        (lambda state: state.update({"stage1.1.conv1.weight": np.zeros(1)}), "has a tensor 'stage1.1.conv1.weight', which"),
        (lambda state: state.update({"linear.bias": np.zeros(3)}), r"linear.bias has shape \(3,\), shallow.* needs \(10,\)"),
        (lambda state: state.update({"conv1.bias": np.zeros(8, np.float16)}), "conv1.bias is float16, expected float32 or"),
        (lambda state: state.update({"conv1.bias": np.zeros(8)}), "expected all float32 or all float64"),
        (lambda state: state.update({"x": 3}), "holds no state dict"),
        (lambda state: state.clear(), "holds no state dict"),
        (lambda state: [state.pop(key) for key in list(state)[1:]], "no tensor 'conv1.bias'|no tensor 'bn1.weight'"),
        (
            lambda state: (state.clear(), state.update(other=np.zeros(2))),
            "is no shallow.*'stem.weight' or 'conv1.weight'; .*'other'",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_its_first_name(change, expected):
    state = public_state(model_of(SMALL))
    change(state)
    with pytest.raises(CheckpointError, match=expected) as caught:
        minisqx.from_torch(state, SMALL)
    assert "\n" not in str(caught.value)


def test_two_state_dicts_none_and_no_network_are_refused_in_a_line():
    state = public_state(model_of(SMALL))
    with pytest.raises(CheckpointError, match="holds 2 state dicts, 'net', 'average': expected one"):
        minisqx.from_torch({"net": state, "average": state}, SMALL)
    with pytest.raises(CheckpointError, match="doesn't describe its network: name it"):
        minisqx.from_torch(state)
    with pytest.raises(OptionError, match="a list: expected the path of a PyTorch file, or a state dict"):
        minisqx.from_torch([], SMALL)


class Evil:
    """Pickled, it makes a folder when it is loaded without care."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@needs_torch
@pytest.mark.parametrize("place", ["beside tensors", "alone", "old format", "plain pickle", "TorchScript"])
def test_a_malicious_file_is_refused_in_a_line_and_nothing_runs(place, tmp_path, capfd):
    mark, path = tmp_path / "mark", tmp_path / "net.pt"
    state = {name: torch.as_tensor(array) for name, array in public_state(model_of(SMALL)).items()}
    match place:
        case "beside tensors":
            torch.save(OrderedDict(state, evil=Evil(mark)), path)
        case "alone":
            torch.save(Evil(mark), path)
        case "old format":
            torch.save({"net": state, "evil": Evil(mark)}, path, _use_new_zipfile_serialization=False)
        case "TorchScript":
            torch.jit.script(torch.nn.Conv2d(1, 1, 1)).save(path)
        case _:
            path.write_bytes(pickle.dumps(Evil(mark)))
    for read in (minisqx.from_torch, minisqx.load):
        with pytest.raises(CheckpointError, match="net.pt' is refused .*only tensors and plain values are read") as caught:
            read(path)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert not mark.exists() and capfd.readouterr() == ("", "")
    if place in ("beside tensors", "alone", "old format"):
        assert "it wants to run posix.mkdir" in str(caught.value) or os.name != "posix"


def test_pytorch_is_asked_for_weights_alone(tmp_path, monkeypatch):
    asked = {}
    state = public_state(model_of(SMALL))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(load=lambda path, **options: asked.update(options) or state))
    (tmp_path / "net.pth").write_bytes(b"x")
    minisqx.load(tmp_path / "net.pth", network=SMALL)
    assert asked == {"map_location": "cpu", "weights_only": True}


@needs_torch
def test_a_pickled_module_is_refused_with_the_way_to_save_weights(tmp_path):
    torch.save({"net": torch.nn.Conv2d(3, 3, 1), "acc": 0.9}, tmp_path / "net.pth")
    with pytest.raises(CheckpointError, match=r"torch.nn.modules.conv.Conv2d\).*torch.save\(net.state_dict\(\), path\)"):
        minisqx.from_torch(tmp_path / "net.pth", SMALL)


@needs_torch
def test_a_damaged_file_is_one_line_whatever_is_wrong(tmp_path):
    model = model_of(SMALL)
    minisqx.export(model, tmp_path / "net.pt")
    data = (tmp_path / "net.pt").read_bytes()
    flipped = bytearray(data)
    flipped[data.index(model.state["stem.weight"].tobytes()) + 50] ^= 1
    changed = model.network.to_torch_state_dict()
    changed._metadata[""]["minisqx"] = "{"
    torch.save(changed, tmp_path / "changed.pt")
    path = tmp_path / "bad.pt"
    for bad in (bytes(flipped), data[:-30], data[: len(data) // 2], b"", b"hello", (tmp_path / "changed.pt").read_bytes()):
        path.write_bytes(bad)
        with pytest.raises(CheckpointError, match="bad.pt'.*(is damaged|can't be read|is refused)") as caught:
            minisqx.from_torch(path)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    with pytest.raises(CheckpointError, match="there is no file .*expected a PyTorch file"):
        minisqx.from_torch(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="not a file; expected a PyTorch file"):
        minisqx.from_torch(tmp_path)
    with pytest.raises(CheckpointError, match=r"is a shallow-06-0.125x, not the shallow-06-0.2x"):
        minisqx.load(tmp_path / "net.pt", network="shallow-06-0.2x")


def test_hostile_class_names_come_out_of_python_as_they_are():
    hostile = ('"""', "'''\\", "</script>", "猫", "\u200d-", "{x}%s", "$name ${x}", "\\n", "سلام", "# not a comment")
    tree = ast.parse(module_source(model_of(SMALL, hostile), "net"))
    (classes,) = [node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CLASSES"]
    assert tuple(ast.literal_eval(classes)) == hostile
    assert [type(node) for node in tree.body].count(ast.Assign) == 6  # sizes, mean, deviation, temperature, classes, stages


def test_the_module_imports_torch_alone_in_lines_of_at_most_130_characters():
    for name in NETWORKS:
        text = module_source(model_of(name), "net")
        nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert [ast.unparse(node) for node in nodes] == [
            "import torch",
            "from torch import nn",
            "from torch.nn import functional",
        ]
        assert max(map(len, text.splitlines())) <= 130 and "$" not in text


@needs_torch
def test_the_module_finds_its_weights_from_any_folder(tmp_path):
    minisqx.export("shallow-06-0.2x", tmp_path / "signs.py")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import signs, torch\n"
    script += "x = signs.normalised(torch.zeros(2, 32, 32, 3, dtype=torch.uint8))\n"
    script += "print(*signs.load()(x).shape, signs.CLASSES[0])"
    done = subprocess.run([sys.executable, "-c", script], cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "10", "airplane"]


@needs_torch
def test_exports_to_pytorch_are_the_same_bytes_every_time(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        minisqx.export("shallow-06-0.2x", tmp_path / name / "net.py")
    for file in ("net.py", "net.pt"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("name", ["my-net.py", "class.py", "torch.py", "3.py"])
def test_a_module_has_a_name_that_python_can_import(name, tmp_path):
    with pytest.raises(OptionError, match="expected a name that Python can import"):
        minisqx.export("shallow-06-0.2x", tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_without_torch_the_refusal_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "net.pt").write_bytes(b"x")
    for call in (
        lambda: minisqx.from_torch(tmp_path / "net.pt"),
        lambda: minisqx.load(tmp_path / "net.pt"),
        lambda: Network(zoo.network(SMALL)).to_torch_state_dict(),
        lambda: minisqx.export(zoo.DEFAULT, tmp_path / "x.py"),
    ):
        with pytest.raises(MissingExtraError, match=r"torch is not installed: pip install 'minisqx\[torch\]'"):
            call()
    assert [path.name for path in tmp_path.iterdir()] == ["net.pt"]
