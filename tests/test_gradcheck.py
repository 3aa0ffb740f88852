"""`minisqx gradcheck`: it checks what was asked for, and sees a gradient that is wrong."""

import numpy as np
import pytest

from minisqx.cli import main
from minisqx.errors import OptionError
from minisqx.gradcheck import GradientCheck
from minisqx.machine.threads import threads, use_threads
from minisqx.network import Network
from minisqx.spec.squeezenext import SqueezeNextSpec

SMALL = ("--input-size", "12", "--width", "0.125")


@pytest.fixture(autouse=True)
def same_threads():
    before = threads()
    yield
    use_threads(before)


def checked(capsys) -> list[str]:
    """The names in the first column of what was printed."""
    _, _, _, head, *lines, _ = capsys.readouterr().out.splitlines()
    assert head.startswith("layer")
    return [line.split()[0] for line in lines]


def test_every_layer_and_the_images_are_checked(capsys):
    assert main(["gradcheck", *SMALL]) == 0
    spec = SqueezeNextSpec(width=0.125)
    assert checked(capsys) == ["input", *(layer.name for layer in spec.layers)]


@pytest.mark.parametrize(
    "layer, names",
    [
        ("head", ["head"]),
        ("stage1.block1.conv2", ["stage1.block1.conv2"]),
        ("stage2.block1", [f"stage2.block1.{name}" for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "shortcut")]),
        ("input", ["input"]),
    ],
)
def test_a_layer_or_a_block_can_be_checked_alone(layer, names, capsys):
    assert main(["gradcheck", *SMALL, "--layer", layer]) == 0
    assert checked(capsys) == names


def test_an_unknown_layer_is_refused_in_a_line_that_lists_the_layers(capsys):
    # The beginning of a name is no name.
    assert main(["gradcheck", *SMALL, "--layer", "stage1.bloc"]) == OptionError.exit_code
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "layer 'stage1.bloc': expected one of input, stem, stage1.block1.conv1, " in error


@pytest.mark.parametrize(
    "network, tensor",
    [
        (SMALL, "stage1.block1.conv2.weight"),
        (SMALL, "classifier.bias"),
        (("--model", "squeezenet-v1.1", "--input-size", "17"), "fire2.expand3.weight"),
    ],
)
def test_a_gradient_that_is_a_thousandth_off_ends_with_exit_code_1(network, tensor, monkeypatch, capsys):
    right = Network.backward

    def wrong(self, *arguments, **options):
        dx = right(self, *arguments, **options)
        self.gradients()[tensor][...] *= 1.001
        return dx

    monkeypatch.setattr(Network, "backward", wrong)
    layer = tensor.rpartition(".")[0]
    assert main(["gradcheck", *network, "--layer", layer]) == 1
    line, verdict, advice = capsys.readouterr().out.splitlines()[-3:]
    assert "beyond" in line and verdict.startswith("1 of 1 differ by more than ") and advice.endswith(f": {layer}")


def test_a_gradient_that_is_no_number_differs_by_infinity():
    check = GradientCheck(SqueezeNextSpec(width=0.125, input_size=(12, 12)))
    check.gradients["classifier.bias"][0] = np.nan
    (layer,) = check.layers("classifier")
    assert layer.difference == np.inf and layer.kinks == 0 and not layer.agrees(check.tolerance)


def test_an_element_at_a_kink_is_counted_and_its_neighbours_are_measured():
    check = GradientCheck(SqueezeNextSpec(width=0.125, input_size=(12, 12), activation="relu"))
    bias, gradient = check.net.parameters()["classifier.bias"], check.gradients["classifier.bias"]
    # The loss is a sum of ReLUs of the biases: the first lies within a step of the kink, the others far from it.
    bias[:], gradient[:] = 1, 1
    bias[0] = check.step / 10
    check.loss = lambda: np.maximum(bias, 0).sum()
    differences = check.differences("classifier.bias", bias.size)
    assert np.isnan(differences[0]) and (differences[1:] <= check.tolerance).all()
    gradient[1] = 0.999
    assert check.differences("classifier.bias", bias.size)[1] > check.tolerance
