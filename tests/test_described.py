"""A file says of a network what its owner said, and nothing else: class names and normalisation are never guessed."""

import h5py
import numpy as np
import pytest
from PIL import Image

import minisqx
from minisqx.cli import main
from minisqx.errors import CheckpointError, DataError
from minisqx.inference import bench
from minisqx.inference.prediction import softmax
from minisqx.network import Network
from minisqx.spec.squeezenext import SqueezeNextSpec

CLASSES, MEAN, STD = ("cat", "dog", "frog"), (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 12, 12, 3), np.uint8)
ASKS = r"^the file of the model 'net.h5' has no {}: say it in minisqx.load\(path, classes=..., mean=..., std=...\), or when"


@pytest.fixture(scope="module")
def net():
    return Network(SqueezeNextSpec(width=0.125, num_classes=3, input_size=(12, 12)), seed=2)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.h5"


def probabilities(net):
    """What the network says of the images, normalised as it was trained."""
    x = ((IMAGES / 255 - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2).astype(np.float32)
    return softmax(net.forward(x))


def answers(model):
    return np.stack([prediction.probabilities for prediction in model.infer(list(IMAGES))])


@pytest.mark.parametrize("where", ["in the call", "on the network", "from its model", "at loading"])
def test_a_network_that_is_saved_and_loaded_says_the_same_as_before(net, path, where):
    described = {"classes": CLASSES, "mean": MEAN, "std": STD}
    if where == "in the call":
        net.save(path, **described)
    elif where == "on the network":
        own = Network(net.spec)
        own.load_state_dict(net.state_dict())
        own.classes, own.mean, own.std = list(CLASSES), np.array(MEAN), list(STD)
        own.save(path)
    elif where == "from its model":
        net.save(path, **described)
        minisqx.load(path).network.save(path)
    else:
        net.save(path)
    model = minisqx.load(path, **(described if where == "at loading" else {}))
    assert (model.classes, model.mean, model.std) == (CLASSES, MEAN, STD)
    np.testing.assert_array_equal(answers(model), probabilities(net))


def test_what_is_given_goes_before_what_is_there(net, path):
    net.save(path, classes=CLASSES, mean=MEAN, std=STD)
    network = minisqx.load(path, classes=["a", "b", "c"]).network
    assert (network.classes, network.mean) == (("a", "b", "c"), MEAN)
    network.save(path, mean=(0, 0, 0), std=(1, 1, 1))
    model = minisqx.load(path)
    assert (model.classes, model.mean, model.std) == (("a", "b", "c"), (0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(
    "given, missing",
    [
        ({}, "class names and no normalisation"),
        ({"classes": CLASSES}, "normalisation"),
        ({"mean": MEAN, "std": STD}, "class names"),
    ],
)
def test_without_them_the_model_asks_for_them(net, path, given, missing):
    net.save(path, **given)
    model = minisqx.load(path)
    for call in (lambda: model.infer(IMAGES[0]), lambda: model.infer([IMAGES[0]]), lambda: minisqx.infer(IMAGES[0], path)):
        with pytest.raises(CheckpointError, match=ASKS.format(missing)) as caught:
            call()
        assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(
        softmax(model.network.forward(np.zeros((1, 3, 12, 12)))), softmax(net.forward(np.zeros((1, 3, 12, 12))))
    )


@pytest.mark.parametrize(
    "given, words",
    [
        ({"classes": ["a", "b"]}, "2 class names for a network with 3 classes"),
        ({"classes": "abc"}, "class names 'abc': expected a list of names"),
        ({"mean": MEAN}, "a mean and no standard deviation"),
        ({"mean": MEAN, "std": (0, 1, 1)}, "deviations over 0"),
        ({"mean": 0.5, "std": STD}, "the mean 0.5: expected three finite numbers"),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_given(net, path, given, words):
    with pytest.raises(CheckpointError, match=words):
        net.save(path, **given)
    assert not path.exists()
    net.save(path)
    with pytest.raises(CheckpointError, match=words):
        minisqx.load(path, **given)


def test_speed_needs_neither(net, path):
    net.save(path)
    assert len(bench.measure(minisqx.load(path), repeats=1).image) == 1


@pytest.fixture
def data(tmp_path):
    def write(classes=("frog", "cat", "dog")):
        with h5py.File(tmp_path / "data.h5", "w") as file:
            for part in ("", "test_"):
                file[f"{part}images"], file[f"{part}labels"] = IMAGES, np.arange(len(IMAGES)) % len(classes)
            file["classes"] = [name.encode() for name in classes]
        return str(tmp_path / "data.h5")

    return write


def test_the_command_line_does_not_guess_the_normalisation(net, path, data, tmp_path, capsys):
    net.save(path, classes=CLASSES)
    Image.fromarray(IMAGES[0]).save(tmp_path / "cat.png")
    for command in (["infer", str(tmp_path / "cat.png"), "--model", str(path)], ["evaluate", str(path), "--data", data()]):
        assert main(command) == CheckpointError.exit_code
        out, error = capsys.readouterr()
        assert out == "" and error.count("\n") == 1 and "has no normalisation: say it in minisqx.load" in error


def test_evaluate_takes_the_datas_class_names_for_a_model_without_and_says_so(net, path, data, capsys):
    net.save(path, mean=MEAN, std=STD)
    assert main(["evaluate", str(path), "--data", data()]) == 0
    out, error = capsys.readouterr()
    assert "has no class names: using those of the data, in their order" in error
    right = int((probabilities(net).argmax(axis=1) == np.arange(12) % 3).sum())
    assert f"{right} of 12" in out and "frog" in out
    assert main(["evaluate", str(path), "--data", data(classes=("cat", "dog"))]) == DataError.exit_code
    assert "the model 'net.h5' has 3, without names: expected the same number" in capsys.readouterr().err
