"""What a network does not know is refused in words where it enters; it is never passed over in silence."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from llvmlite import ir

from minisqx.data.loader import Loader
from minisqx.draw.network import svg
from minisqx.errors import OptionError
from minisqx.kernels import activation
from minisqx.kernels.tiles import plain, simd
from minisqx.layers import Activation, Gradient, ResidualSum, Workspace
from minisqx.network import Network, ShallowSqueezeNext
from minisqx.plan import Plan
from minisqx.spec import AveragePoolSpec, ConvolutionSpec, LinearSpec
from minisqx.spec.squeezenext import SqueezeNextSpec
from minisqx.training.memory import training_bytes
from minisqx.training.optim import SGD
from tests.copies import SMALL, X

UNKNOWN = 3


class Others(SqueezeNextSpec):
    """A description of a user's own, whose units are changed by `CHANGE`."""

    @property
    def units(self):
        return CHANGE(super().units)


def described(change):
    global CHANGE
    CHANGE = change
    return Others(width=0.125, num_classes=3, input_size=(12, 12))


def state_of(spec):
    return {name: np.ones(shape, np.float32) for name, shape in (spec.parameter_shapes | spec.buffer_shapes).items()}


@pytest.mark.parametrize("function", [plain.activate, lambda z, number: plain.activation_backward(z, z, number)])
def test_what_a_tile_means_refuses_an_unknown_activation(function):
    with pytest.raises(OptionError, match=r"^activation number 3: expected 0 \(none\), 1 \(ELU\), 2 \(ReLU\)$"):
        function(np.zeros(3, np.float32), UNKNOWN)


@pytest.mark.parametrize("method", ["activate", "activation_backward"])
def test_no_tile_is_generated_for_an_unknown_activation(method):
    from numba import types

    vectors = simd.Vectors(ir.IRBuilder(), types.float32)
    with pytest.raises(OptionError, match="activation number 3"):
        getattr(vectors, method)(*[vectors.constant(0.0)] * (1 + (method != "activate")), UNKNOWN)


def test_compiled_code_ends_the_process_at_an_unknown_selector():
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [simd.INDEX]), "f")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    simd.switch(builder, function.args[0], {1: lambda: None, 2: lambda: None})
    builder.ret_void()
    choice = next(instruction for instruction in function.blocks[0].instructions if instruction.opname == "switch")
    assert [str(each.opname) for each in choice.default.instructions] == ["call", "br"]
    assert '@"llvm.debugtrap"' in str(choice.default.instructions[0])


def test_an_activation_that_tiles_lack_is_refused_by_training_and_inference(monkeypatch):
    def gelu(units):
        return (replace(units[0], activation="gelu"), *units[1:])

    for known, words in ((False, r"^activation 'gelu': expected one of None, 'elu', 'relu'$"), (True, "^activation number 3: ")):
        if known:  # by name, as a new activation would be at first
            monkeypatch.setitem(activation.NUMBERS, "gelu", UNKNOWN)
        spec = described(gelu)
        with pytest.raises(OptionError, match=words):
            Network(spec)
        with pytest.raises(OptionError, match=words):
            plan = Plan(spec, state_of(spec))
            plan.run(np.zeros((1, 3, plan.layout(1, 12, 12).stride), np.float32), plan.layout(1, 12, 12))


def test_layers_refuse_the_number_of_an_unknown_activation():
    with pytest.raises(OptionError, match="activation number 3"):
        ResidualSum(4, Workspace("float32"), UNKNOWN)
    x = stem_input(Network(SMALL))
    with pytest.raises(OptionError, match="activation number 3"):
        replace(x, activation=UNKNOWN)


def stem_input(net):
    net.forward(X, training=True)
    return net.layers["stem"].x


def test_the_layers_of_a_network_cannot_be_added_to_or_exchanged():
    net = Network(SMALL)
    head = net.layers["head"]
    for change in (
        lambda: net.layers.update(extra=head),
        lambda: net.layers.pop("dropout"),
        lambda: net.layers.clear(),
        lambda: net.layers.setdefault("extra", head),
    ):
        with pytest.raises(OptionError, match="^layers.* inference follows the network's spec; make a network from another"):
            change()
    with pytest.raises(OptionError, match="^layers of a network can't be replaced"):
        net.layers = {**net.layers, "extra": head}
    assert list(net.layers) == [unit.name for unit in SMALL.units] and net.layers["head"] is head


@pytest.mark.parametrize("name", ["spec", "dtype", "seed", "flat_parameters", "flat_gradients", "flat_buffers"])
def test_what_a_network_is_made_of_cannot_be_replaced(name):
    net = Network(SMALL)
    with pytest.raises(OptionError, match=rf"^{name} of a network can't be replaced"):
        setattr(net, name, replace(SMALL, activation="relu") if name == "spec" else np.zeros(3))
    setattr(net, name, getattr(net, name))
    net.flat_parameters *= 0
    assert not net.parameters()["head.weight"].any() and not net.state_dict()["head.weight"].any()


@dataclass(frozen=True)
class Blur:
    """A unit that nobody here has heard of."""

    name: str = "blur"
    layers = groups = ()
    output_shape = (1,)


def test_an_unknown_unit_is_refused_wherever_units_are_told_apart():
    spec = described(lambda units: (units[0], Blur(), *units[1:]))
    with pytest.raises(OptionError, match=r"^Blur\(name='blur'\): no layer computes it"):
        Network(spec)
    with pytest.raises(OptionError, match=r"^Blur\(name='blur'\): inference has no such layer"):
        plan = Plan(spec, state_of(spec))
        plan.run(np.zeros((1, 3, plan.layout(1, 12, 12).stride), np.float32), plan.layout(1, 12, 12))
    with pytest.raises(OptionError, match=r"^Blur\(name='blur'\): its memory use is not known"):
        training_bytes(spec, 4, 4)
    with pytest.raises(OptionError, match=r"^Blur\(name='blur'\): this layer can't be drawn"):
        svg(spec)


@pytest.mark.parametrize(
    "change",
    [
        lambda units: (*units, LinearSpec("second", 3, 3)),
        lambda units: (*units[:-2], LinearSpec("early", 3, 3), *units[-2:]),
        lambda units: (*units, ConvolutionSpec("after", 3, 3, (1, 1), (1, 1), (0, 0), (1, 1))),
        lambda units: (*units[:-1], AveragePoolSpec("again", units[-2].channels, (1, 1)), units[-1]),
        lambda units: units[:-2],
    ],
)
def test_inference_refuses_a_network_whose_end_it_would_pass_over(change):
    spec = described(change)
    with pytest.raises(OptionError, match="inference needs a network that ends in an average pool"):
        Plan(spec, state_of(spec))


def test_what_was_used_up_by_backward_is_said_to_be():
    net = Network(SMALL)
    for call in (net.activations, lambda: net.backward(np.ones((9, 3)))):
        with pytest.raises(OptionError, match=r"^\w+ before any forward pass: call it after forward\(x, training=True\)"):
            call()
    net.forward(X, training=True)
    assert len(net.activations()) > 3
    net.backward(np.ones((9, 3)))
    for call in (net.activations, lambda: net.backward(np.ones((9, 3)))):
        with pytest.raises(
            OptionError, match=r"^\w+ after backward, which overwrites what forward stored: call it after forward"
        ):
            call()


def test_a_forward_pass_that_fails_has_no_backward():
    net = Network(SMALL)
    with pytest.raises(OptionError, match="one value per channel"):
        net.forward(np.zeros((1, 3, 8, 8)), training=True)
    with pytest.raises(OptionError, match="^backward after a forward pass that failed"):
        net.backward(np.ones((1, 3)))


def test_a_layer_says_what_it_takes():
    net = Network(SMALL)
    x = stem_input(net)
    for name, layer in net.layers.items():
        for given in (X, 5, Gradient() if name == "classifier" else x.part(0, 2, 0)):
            with pytest.raises(OptionError, match=r"\)\.forward of a.*: expected ") as caught:
                layer.forward(given)
            assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
        net.forward(X, training=True)
        with pytest.raises(OptionError, match=r"\)\.backward of a float64 array of shape \(9, 3, 12, 12\): expected "):
            layer.backward(X)
    wide = Activation(x.data.astype(np.float64), *(getattr(x, part) for part in ("layout", "row", "scale", "shift")), 0, x.sums)
    with pytest.raises(OptionError, match="Activation of 3 channels of float64: expected 3 channels of float32"):
        net.layers["stem"].forward(wide)


def test_a_batch_that_was_made_for_another_network_is_refused():
    def batch(side, dtype):
        images = np.zeros((2, side, side, 3), np.uint8)
        loader = Loader(images, np.zeros(2, np.int64), 2, mean=(0,) * 3, std=(1,) * 3, augment="none", seed=0, dtype=dtype)
        return next(loader.epoch(0))

    net = Network(SMALL)
    for training in (False, True):
        with pytest.raises(OptionError, match=r"^a batch of float64, packed as .*: expected float32"):
            net.forward(batch(12, "float64"), training=training)
        with pytest.raises(OptionError, match="^input size 2 x 2 pixels is too small"):
            net.forward(batch(2, "float32"), training=training)


@pytest.mark.parametrize("wrong", [np.zeros(3, np.float32), [0.0], np.zeros(11253 * 2, np.float32)[::2], None])
def test_an_optimizer_takes_no_velocity_of_another_network(wrong):
    optimizer = SGD(ShallowSqueezeNext(width=0.2), lr=0.1)
    before = optimizer.velocity
    with pytest.raises(OptionError, match=r"^velocity: .*; expected float32 of shape \(11253,\), contiguous and writable$"):
        optimizer.velocity = wrong
    assert optimizer.velocity is before
    optimizer.velocity = np.ones_like(before)
    with pytest.raises(OptionError, match="^the network of an optimizer can't be replaced"):
        optimizer.network = ShallowSqueezeNext(width=0.3)
