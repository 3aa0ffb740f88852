"""Gradients of every layer on its own, float64: central differences of its own forward, the complex step of its naive twin.

Whole networks are held in `test_gradients.py`. Each case has an input with everything deferred that its layer may meet; the
gradient that comes in is random.
"""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

import minisqx
from minisqx.gradcheck import STEP, central_differences, random_state, relative_difference, sample
from minisqx.kernels.activation import NO_ACTIVATION, number_of
from minisqx.kernels.layout import Layout
from minisqx.layers import AveragePool, Dropout, Gradient, Linear, ResidualSum, Workspace, materialise
from minisqx.machine.threads import threads, use_threads
from minisqx.spec import AveragePoolSpec, DropoutSpec
from tests import naive
from tests.gradient_check import complex_step
from tests.kernel_calls import packed
from tests.layer_cases import BLOCKS, DEFERRED, BlockCase, Naive, channels
from tests.layer_shapes import Shape
from tests.test_kernels_convolution import VARIANTS

ELU = number_of("elu")

# The promises for a single layer.
CENTRAL = 1e-8
COMPLEX = 1e-10
MAX_SAMPLED = 12  # elements of a tensor
KINK = 20 * STEP
SPREAD = 0.1
STEPS = (STEP, 1.5 * STEP)

Arrays = dict[str, np.ndarray]


@pytest.fixture(autouse=True)
def one_thread():
    """Thousands of tiny forward passes: threads would only wait for each other, and change no bit."""
    before = threads()
    use_threads(1)
    yield
    use_threads(before)


def check(ours: Callable[[], np.ndarray], twin: Callable[[Arrays], np.ndarray], dout, arrays: Arrays, gradients: Arrays) -> None:
    """gradients[name] is the derivative of sum(dout * y) by arrays[name].

    y is `ours()`, which reads `arrays`, and `twin(arrays)`, which is naive. Central differences are taken of y less what it was:
    the rounding of a large sum would hide small derivatives.
    """
    largest = max(np.abs(gradient).max() for gradient in gradients.values())
    before = ours().copy()
    for name, gradient in gradients.items():
        indices = sample(gradient.size, MAX_SAMPLED, seed=len(name))
        found = gradient.ravel()[indices]
        # The true gradient of a bias straight before a batch norm is zero: it is measured by the others.
        scale = np.abs(gradient).max() if np.abs(gradient).max() > 1e-9 * largest else largest
        # The mean of two: what is left of the difference is rounding, other with another step.
        numeric = np.mean(
            [central_differences(lambda: (dout * (ours() - before)).sum(), arrays[name], indices, step) for step in STEPS], axis=0
        )
        assert relative_difference(numeric, found, scale) <= CENTRAL, name
        exact = complex_step(lambda values, name=name: (dout * twin({**arrays, name: values})).sum(), arrays[name], indices)
        assert relative_difference(exact, found, scale) <= COMPLEX, name


def case_off_the_kink(shape: Shape, **options) -> BlockCase:
    """The first case where no value lies so near the activation's kink that a difference could carry it across, and no channel is
    so nearly constant, as after a ReLU, that a batch norm makes a steep function of it.
    """
    for seed in itertools.count(1):
        case = BlockCase(shape, seed=seed, **options)
        z = case.naive.convolution(*case.naive_arguments[:3])
        spread = z if case.naive.order == "conv-bn-act" else case.naive.activate(z)
        if np.abs(case.before_activations()).min(initial=np.inf) > KINK and spread.std(axis=(0, 2, 3)).min() > SPREAD:
            return case


@pytest.mark.parametrize("order, activation", BLOCKS)
@pytest.mark.parametrize("deferred", DEFERRED)
@pytest.mark.parametrize("variant", [name for name in VARIANTS if not name.startswith("more")])
def test_gradients_of_a_basic_block(variant, deferred, order, activation):
    for shortcut in (True, False):
        options = {"order": order, "activation": activation, "shortcut_activation": shortcut}
        case = case_off_the_kink(VARIANTS[variant], deferred=deferred, **options)
        y = case.forward()
        dout = case.generator.normal(size=y.shape)
        gradients = case.backward(dout)
        scale, shift = channels(case.arrays["scale"]), channels(case.arrays["shift"])
        slope = case.naive.slope(case.arrays["data"] * scale + shift) if deferred == "activation" else 1
        gradients["data"] = gradients.pop("x") * slope * scale

        def ours(case=case) -> np.ndarray:
            case.load()
            return case.outputs()

        def twin(arrays: Arrays, case=case, scale=scale, shift=shift) -> np.ndarray:
            x = arrays["data"] * scale + shift
            x = case.naive.function(x) if deferred == "activation" else x
            return case.naive.forward(x, *(arrays[name] for name in ("weight", "bias", "gamma", "beta")))

        check(ours, twin, dout, case.arrays, gradients)


def naive_bottleneck(net, block, state: Arrays, x: np.ndarray) -> np.ndarray:
    def basic(layer, x):
        shape = Shape(layer.in_channels, (layer.out_channels,), layer.kernel, layer.stride[0], layer.padding, layer.input_size)
        twin = Naive(shape, layer.out_channels if layer.activation else 0, layer.order, net.spec.activation)
        return twin.forward(x, *(state[f"{layer.name}.{part}"] for part in ("weight", "bias", "gamma", "beta")))

    main, shortcut = x, x if block.shortcut is None else basic(block.shortcut, x)
    for layer in block.main:
        main = basic(layer, main)
    return {"elu": naive.elu, "relu": naive.relu}[block.activation](main + shortcut)


# The first of the network's bottlenecks have a shortcut with stride 1 and 2, the third has none.
@pytest.mark.parametrize("number", [0, 1, 2], ids=["shortcut", "stride-2", "identity"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"block_order": "conv-bn-act"},
        {"shortcut_activation": False, "separable_order": "3x1-1x3"},
        {"block_order": "conv-bn-act", "shortcut_activation": False},
        {"block_order": "conv-bn-act", "activation": "relu"},
    ],
    ids=str,
)
def test_gradients_of_a_bottleneck(number, options):
    generator = np.random.default_rng(number)
    net = minisqx.ShallowSqueezeNext(0.125, blocks=(1, 2, 1, 1), input_size=(11, 12), dtype="float64", **options)
    net.load_state_dict(random_state(net.spec, generator))
    block = net.spec.bottlenecks[number]
    layer = net.layers[block.name]
    first = block.main[0]
    arrays = net.parameters() | {"x": generator.normal(size=(4, first.in_channels, *first.input_size))}
    workspace = Workspace("float64")
    # A bottleneck with a stride is given only the pixels that it reads, and gives only those that the next one will read.
    read = np.s_[:, :, :: first.stride[0], :: first.stride[1]]
    given = np.s_[:, :, ::2, ::2] if layer.sum.sampled else np.s_[:]
    layout = Layout(4, *arrays["x"][read].shape[2:], 8, 3)

    def forward():
        return layer.forward(workspace.plain(packed(arrays["x"][read], "float64", 3)[0], layout)).values()

    dout = generator.normal(size=forward().shape)
    gradient = layer.backward(Gradient(stored=packed(dout, "float64", 3)[0]))
    dx = np.zeros_like(arrays["x"])
    dx[read] = layout.unpack(materialise(gradient, np.full((2, first.in_channels, layout.stride), np.nan), layout, workspace))
    names = [f"{layer.name}.{part}" for layer in block.layers for part in ("weight", "bias", "gamma", "beta")]
    gradients = {name: net.gradients()[name].copy() for name in names} | {"x": dx}
    check(forward, lambda arrays: naive_bottleneck(net, block, arrays, arrays["x"])[given], dout, arrays, gradients)


@pytest.mark.parametrize("activation", [NO_ACTIVATION, ELU])
def test_gradients_of_a_residual_sum(activation):
    generator = np.random.default_rng(0)
    arrays = {"u": generator.normal(size=(5, 4, 3, 7)), "v": generator.normal(size=(5, 4, 3, 7))}
    scale, shift = generator.normal(size=(2, 4))
    workspace = Workspace("float64")
    layer = ResidualSum(4, workspace, ELU)

    def forward():
        (u, layout), (v, _) = (packed(arrays[name], "float64", 2) for name in ("u", "v"))
        plain = workspace.plain(u, layout)
        return layer.forward(plain, plain.__class__(v, layout, 0, scale, shift, activation, np.empty((4, 2)))).values()

    def twin(arrays: Arrays) -> np.ndarray:
        v = arrays["v"] * channels(scale) + channels(shift)
        return naive.elu(arrays["u"] + (naive.elu(v) if activation else v))

    dout = generator.normal(size=forward().shape)
    ds = layer.u.layout.unpack(layer.backward(Gradient(stored=packed(dout, "float64", 2)[0])).stored)
    slope = naive.elu_gradient(arrays["v"] * channels(scale) + channels(shift)) if activation else 1
    check(forward, twin, dout, arrays, {"u": ds, "v": ds * slope * channels(scale)})


def test_gradients_of_dropout():
    generator = np.random.default_rng(0)
    arrays = {"x": generator.normal(size=(5, 4, 3, 7))}
    workspace = Workspace("float64", seed=1)
    layer = Dropout(DropoutSpec("dropout", 4, (3, 7), 0.3), workspace)

    def forward():
        layer.workspace.dropout_step = 2
        return layer.forward(workspace.plain(*packed(arrays["x"], "float64"))).values()

    mask, dout = forward() != 0, generator.normal(size=(5, 4, 3, 7))
    dx = layer.layout.unpack(layer.backward(Gradient(stored=packed(dout, "float64")[0])).stored)
    check(forward, lambda a: naive.dropout(a["x"], mask, 0.3), dout, arrays, {"x": dx})


@pytest.mark.parametrize("activation", [NO_ACTIVATION, ELU])
def test_gradients_of_the_average_pool(activation):
    generator = np.random.default_rng(0)
    arrays = {"x": generator.normal(size=(5, 4, 3, 7))}
    scale, shift = generator.normal(size=(2, 4))
    workspace = Workspace("float64")
    layer = AveragePool(AveragePoolSpec("pool", 4, (3, 7)), workspace)

    def forward():
        x = workspace.plain(*packed(arrays["x"], "float64"))
        return layer.forward(x.__class__(x.data, x.layout, 0, scale, shift, activation, x.sums))

    def twin(arrays: Arrays) -> np.ndarray:
        x = arrays["x"] * channels(scale) + channels(shift)
        return naive.average_pool(naive.elu(x) if activation else x)

    dout = generator.normal(size=forward().shape)
    dx = layer.x.layout.unpack(layer.backward(dout).stored)
    slope = naive.elu_gradient(arrays["x"] * channels(scale) + channels(shift)) if activation else 1
    check(forward, twin, dout, arrays, {"x": dx * slope * channels(scale)})


def test_gradients_of_the_linear_layer():
    generator = np.random.default_rng(0)
    arrays = {"x": generator.normal(size=(6, 7)), "weight": generator.normal(size=(5, 7)), "bias": generator.normal(size=5)}
    gradients = {name: np.full_like(values, np.nan) for name, values in arrays.items()}
    layer = Linear("classifier", arrays["weight"], arrays["bias"], gradients["weight"], gradients["bias"], Workspace("float64"))
    dout = generator.normal(size=layer.forward(arrays["x"]).shape)
    gradients["x"] = layer.backward(dout)
    check(
        lambda: layer.forward(arrays["x"]).copy(), lambda a: naive.linear(a["x"], a["weight"], a["bias"]), dout, arrays, gradients
    )


@pytest.mark.parametrize("weights", [None, np.array([0.2, 3, 1, 0.5, 7, 1.5, 2])], ids=["plain", "weighted"])
def test_gradients_of_the_loss(weights):
    generator = np.random.default_rng(0)
    arrays, labels = {"logits": generator.normal(size=(4, 7))}, generator.integers(0, 7, 4)
    gradient = minisqx.cross_entropy(arrays["logits"], labels, weights)[1]
    check(
        lambda: np.array(minisqx.cross_entropy(arrays["logits"], labels, weights)[0]),
        lambda a: naive.softmax_cross_entropy(a["logits"], labels, weights)[0],
        1,
        arrays,
        {"logits": gradient},
    )
