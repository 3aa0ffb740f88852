"""`minisqx export MODEL net.onnx`: a graph that the checker accepts, and that runtimes answer as we do."""

import json
import sys

import numpy as np
import pytest

import minisqx
from minisqx.errors import MissingExtraError
from minisqx.inference.model import Model
from minisqx.spec.squeezenext import SqueezeNextSpec
from tests.exported_models import MEAN, NETWORKS, ODD, STD, images_for, logits_of, model_of
from tests.onnx_runtimes import CONVERTED, RUNTIMES, normalised

onnx = pytest.importorskip("onnx", reason="there is no onnx: pip install 'minisqx[onnx]'")

TOLERANCE = 1e-5
# The node types of a network whose batch norms are all folded.
PLAIN = {"Conv", "Elu", "Add", "GlobalAveragePool", "Flatten", "Gemm"}


def exported(model: Model, path, **options):
    minisqx.export(model, path, **options)
    return onnx.load(path)


@pytest.mark.parametrize("runtime", RUNTIMES | CONVERTED)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_runtime_gives_the_logits_of_every_network(name, runtime, tmp_path):
    model = model_of(name)
    images = images_for(model)
    minisqx.export(model, tmp_path / "net.onnx")
    logits = (RUNTIMES | CONVERTED)[runtime](tmp_path / "net.onnx", normalised(model, images))
    assert np.abs(logits - logits_of(model, images)).max() < TOLERANCE


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", ["shallow-06-0.2x", "squeezenet-v1.1", ODD])
def test_with_image_input_the_graph_takes_images_and_gives_probabilities(name, runtime, tmp_path):
    model = model_of(name)
    images = images_for(model, 5)
    minisqx.export(model, tmp_path / "net.onnx", image_input=True)
    for some in (images, images[:1]):  # any number of images
        found = RUNTIMES[runtime](tmp_path / "net.onnx", some)
        assert found.dtype == np.float32 and np.abs(found - model.probabilities(some)).max() < TOLERANCE


@pytest.mark.parametrize("order", ["conv-act-bn", "conv-bn-act"])
@pytest.mark.parametrize("activation", ["elu", "relu"])
def test_every_option_of_a_block_is_exported_to_onnx(activation, order, tmp_path):
    options = {"activation": activation, "block_order": order, "shortcut_activation": activation == "relu", "stem_padding": 1}
    spec = SqueezeNextSpec(width=0.2, blocks=(2, 1, 2, 1), input_size=(33, 21), num_classes=3, **options)
    model = model_of(spec, "abc", "float64")
    images = images_for(model)
    minisqx.export(model, tmp_path / "net.onnx")
    run = next(iter(RUNTIMES.values()))
    assert np.abs(run(tmp_path / "net.onnx", normalised(model, images)) - logits_of(model, images)).max() < TOLERANCE


def test_batch_norms_are_folded_into_their_readers_where_there_is_no_padding(tmp_path):
    graph = exported(model_of("shallow-06-0.2x"), tmp_path / "net.onnx").graph
    norms = [node.name.removesuffix(".norm") for node in graph.node if node.op_type == "BatchNormalization"]
    # What remains: norms before padded convolutions, and before sums.
    assert all(name.rpartition(".")[2] in ("conv1", "conv2", "conv3", "conv5", "shortcut") for name in norms)
    assert "stem" not in norms and "head" not in norms and not any(name.endswith("conv4") for name in norms)
    folded = exported(model_of(SqueezeNextSpec(width=0.2, block_order="conv-bn-act")), tmp_path / "net.onnx").graph
    assert {node.op_type for node in folded.node} <= PLAIN | {"Slice"}


def test_the_metadata_has_classes_normalisation_and_hash(tmp_path):
    hostile = ('"</script>"', "猫", "%s", *"abcdefg")
    model = model_of("shallow-06-0.125x", hostile)
    made = exported(model, tmp_path / "net.onnx")
    entries = {entry.key: entry.value for entry in made.metadata_props}
    assert json.loads(entries["classes"]) == list(hostile) and json.loads(entries["network"]) == model.spec.to_dict()
    assert (json.loads(entries["mean"]), json.loads(entries["std"])) == (list(MEAN), list(STD))
    assert len(entries["sha256"]) == 64
    assert [(each.domain, each.version) for each in made.opset_import] == [("", 17)]
    (x,), (logits,) = made.graph.input, made.graph.output
    assert [side.dim_param or side.dim_value for side in x.type.tensor_type.shape.dim] == ["N", 3, 32, 32]
    assert (x.name, logits.name) == ("x", "logits")


def test_an_onnx_file_is_the_same_bytes_every_time(tmp_path):
    paths = [minisqx.export("shallow-06-0.2x", tmp_path / name)[0] for name in ("a.onnx", "b.onnx")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_without_onnx_the_refusal_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'minisqx\[onnx\]'"):
        minisqx.export("shallow-06-0.2x", tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []
