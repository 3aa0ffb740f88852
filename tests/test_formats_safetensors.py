"""safetensors, both ways: the same bits, and a file that doesn't fit is refused by the name of the first tensor that differs."""

import json
import struct
import sys
from dataclasses import replace

import numpy as np
import pytest

import minisqx
from minisqx.checkpoint import load_checkpoint
from minisqx.errors import CheckpointError, MissingExtraError, OptionError
from minisqx.spec import zoo
from minisqx.spec.squeezenext import SqueezeNextSpec
from tests.exported_models import NETWORKS, images_for, logits_of, model_of

safetensors = pytest.importorskip("safetensors.numpy", reason="there is no safetensors: pip install 'minisqx[safetensors]'")


def parts_of(path) -> tuple[dict, bytes]:
    """The header and the tensors, read as the format's own page says."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def joined(header: dict, tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_comes_back_from_safetensors_with_the_same_bits(name, tmp_path):
    model = model_of(name)
    path = tmp_path / "net.safetensors"
    assert minisqx.export(model, path) == [path]
    back = minisqx.from_safetensors(path)
    assert (back.spec, back.classes, back.mean, back.std) == (model.spec, model.classes, model.mean, model.std)
    assert list(back.state) == list(model.state)
    assert all(back.state[key].tobytes() == array.tobytes() for key, array in model.state.items())


def test_a_checkpoint_goes_to_safetensors_and_back_with_all_that_it_has(tmp_path):
    minisqx.export(zoo.DEFAULT, tmp_path / "net.safetensors")
    minisqx.export(tmp_path / "net.safetensors", tmp_path / "net.h5")
    first, again = minisqx.load(zoo.DEFAULT), minisqx.load(tmp_path / "net.h5")
    assert (again.metrics, again.provenance, again.classes) == (first.metrics, first.provenance, first.classes)
    images = images_for(first)
    assert logits_of(again, images).tobytes() == logits_of(first, images).tobytes()
    minisqx.export(tmp_path / "net.h5", tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "net.safetensors").read_bytes()


def test_float64_and_a_model_without_classes_come_back_too(tmp_path):
    model = replace(model_of("shallow-06-0.125x", dtype="float64"), classes=None, mean=None, std=None)
    minisqx.export(model, tmp_path / "net.safetensors")
    back = minisqx.from_safetensors(tmp_path / "net.safetensors")
    assert back.classes is None and back.mean is None
    assert all(back.state[key].tobytes() == array.tobytes() for key, array in model.state.items())


def test_the_metadata_describes_the_network_in_a_plain_safetensors_file(tmp_path):
    hostile = ('"</script>"', "猫", "\u200d-", *"abcdefg")
    model = model_of("shallow-06-0.125x", hostile)
    minisqx.export(model, tmp_path / "net.safetensors")
    header, _ = parts_of(tmp_path / "net.safetensors")
    entries = json.loads(header["__metadata__"]["minisqx"])
    assert entries["network"] == model.spec.to_dict() and entries["classes"] == list(hostile)
    assert len(entries["sha256"]) == 64 and (entries["mean"], entries["std"]) == ([0.49, 0.48, 0.45], [0.20, 0.21, 0.22])
    tensors = safetensors.load_file(tmp_path / "net.safetensors")
    assert set(tensors) == set(model.state) and np.array_equal(tensors["stem.weight"], model.state["stem.weight"])
    assert minisqx.from_safetensors(tmp_path / "net.safetensors").classes == hostile


def test_a_file_of_others_loads_with_the_name_of_its_network(tmp_path):
    model = model_of("shallow-06-0.2x")
    path = tmp_path / "other.safetensors"
    safetensors.save_file(model.state, path)
    back = minisqx.from_safetensors(path, "shallow-06-0.2x")
    assert back.classes is None and all(np.array_equal(back.state[key], array) for key, array in model.state.items())
    with pytest.raises(CheckpointError, match="doesn't describe its network: name it"):
        minisqx.from_safetensors(path)
    minisqx.export(path, tmp_path / "net.h5", network=zoo.network("shallow-06-0.2x"))
    assert load_checkpoint(tmp_path / "net.h5").spec == model.spec


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda state: state.pop("stage1.block1.conv1.bias"), "no tensor 'stage1.block1.conv1.bias', which shallow-06-0.125x"),
        (lambda state: state.update(extra=np.zeros(1, np.float32)), "a tensor 'extra', which shallow-06-0.125x doesn't know"),
        (
            lambda state: state.update({"stem.bias": np.zeros(3, np.float32)}),
            r"stem.bias has shape \(3,\), shallow.* needs \(8,\)",
        ),
        (lambda state: state.update({"stem.bias": np.zeros(8, np.int32)}), "stem.bias is I32, expected float32 or float64"),
        (lambda state: state.update({"stem.bias": np.zeros(8)}), "expected all float32 or all float64"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_first_name(change, expected, tmp_path):
    state = dict(model_of("shallow-06-0.125x").state)
    change(state)
    safetensors.save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=expected):
        minisqx.from_safetensors(tmp_path / "x.safetensors", "shallow-06-0.125x")


def test_a_damaged_file_is_one_line_whatever_is_wrong(tmp_path):
    minisqx.export(model_of("shallow-06-0.125x"), tmp_path / "net.safetensors")
    header, tensors = parts_of(tmp_path / "net.safetensors")
    entries = json.loads(header["__metadata__"]["minisqx"])

    def with_entries(**changed) -> bytes:
        text = json.dumps({name: value for name, value in (entries | changed).items() if value is not ...})
        return joined(header | {"__metadata__": {"minisqx": text}}, tensors)

    flipped = bytearray(tensors)
    flipped[100] ^= 1
    cases = {
        "checksum": joined(header, bytes(flipped)),
        "missing or unknown": with_entries(sha256=...),
        "unknown entries": with_entries(more=1),
        "network family": with_entries(network={"family": "x"}),
        "class names": with_entries(classes=["a"]),
        "normalisation": with_entries(mean=[1, 2]),
        "can't be read": tensors,
        "can't be read as": joined(header, tensors[:-1]),
        "safetensors file": b"",
        "JSON": joined(header | {"__metadata__": {"minisqx": "{"}}, tensors),
        "its description has": joined(header | {"__metadata__": {"minisqx": " " * (9 << 20)}}, tensors),
    }
    path = tmp_path / "bad.safetensors"
    for expected, data in cases.items():
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=expected) as caught:
            minisqx.from_safetensors(path)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    with pytest.raises(CheckpointError, match="there is no file"):
        minisqx.from_safetensors(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="not a file"):
        minisqx.from_safetensors(tmp_path)


def test_a_wrong_name_for_a_described_network_is_refused(tmp_path):
    minisqx.export(model_of("shallow-06-0.125x"), tmp_path / "net.safetensors")
    with pytest.raises(CheckpointError, match=r"is a shallow-06-0.125x, not the shallow-06-0.2x"):
        minisqx.from_safetensors(tmp_path / "net.safetensors", "shallow-06-0.2x")
    with pytest.raises(OptionError, match="a network is named beside a model"):
        minisqx.export(zoo.DEFAULT, tmp_path / "net.c", network=SqueezeNextSpec())


def test_without_safetensors_the_refusal_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    (tmp_path / "x").write_bytes(b"x")
    for call in (
        lambda: minisqx.from_safetensors(tmp_path / "x"),
        lambda: minisqx.export(zoo.DEFAULT, tmp_path / "x.safetensors"),
    ):
        with pytest.raises(MissingExtraError, match=r"pip install 'minisqx\[safetensors\]'"):
            call()
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
