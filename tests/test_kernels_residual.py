"""The residual sum and the average over the map: both read tensors with something deferred, and leave row sums behind."""

from dataclasses import replace

import numpy as np
import pytest

from minisqx.gradcheck import relative_difference
from minisqx.kernels.activation import NO_ACTIVATION, number_of
from minisqx.layers import Activation, AveragePool, Gradient, ResidualSum, Workspace, materialise
from minisqx.spec import AveragePoolSpec
from tests import naive
from tests.kernel_calls import DTYPES, packed, padding_is_zero, poisoned
from tests.layer_cases import channels, poison_activation_backward

ELU, RELU = map(number_of, ("elu", "relu"))

TOLERANCE = {"float64": 1e-13, "float32": 2e-6}
# (images, images a chunk, height, width); the last has more pixels than a block, of samples, too, and a last chunk of one image.
CUTS = [(1, 1, 1, 1), (3, 1, 5, 1), (5, 2, 4, 4), (7, 3, 9, 25), (3, 2, 93, 47)]
ROWS = 5
FUNCTIONS = {NO_ACTIVATION: lambda z: z, ELU: naive.elu, RELU: naive.relu}
SLOPES = {ELU: naive.elu_gradient, RELU: naive.relu_gradient}


class Tensor:
    """A tensor with everything deferred that may be: its rows lie between others, which are poison, and its values are f(data *
    scale + shift), f the activation of that number.
    """

    def __init__(self, generator, cut, dtype, activation: int, before: int):
        images, per_chunk, *size = cut
        self.data = generator.normal(size=(images, ROWS, *size)).astype(dtype).astype(np.float64)
        self.scale, self.shift = generator.normal(size=(2, ROWS)).astype(dtype)
        self.activation, self.before = activation, before
        more = np.full((images, before, *size), np.nan)
        stored, layout = packed(np.concatenate([more, self.data, more], axis=1), dtype, per_chunk)
        sums = np.full((ROWS, 2), np.nan)
        self.ours = Activation(stored, layout, before, self.scale, self.shift, activation, sums)

    @property
    def affine(self) -> np.ndarray:
        return self.data * channels(self.scale.astype(float)) + channels(self.shift.astype(float))

    @property
    def values(self) -> np.ndarray:
        return FUNCTIONS[self.activation](self.affine)

    def sums(self, g: np.ndarray) -> np.ndarray:
        """Row sums of g and of g times what is stored."""
        return np.stack([g.sum(axis=(0, 2, 3)), (g * self.data).sum(axis=(0, 2, 3))], axis=1)

    def check_sums(self, g: np.ndarray, tolerance: float) -> None:
        assert relative_difference(self.ours.sums, self.sums(g), np.abs(g).sum()) <= tolerance


def poison(layer, layout) -> None:
    buffers = layer.buffers_for(layout)
    for buffer in (buffers.y.data, *buffers.samples):
        buffer[...] = np.nan
    poison_activation_backward(buffers.activation_backward)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cut", CUTS, ids=str)
@pytest.mark.parametrize("deferred", [(0, 0), (1, 0), (1, 1)], ids=["none", "one", "both"])
@pytest.mark.parametrize("function", SLOPES, ids=["elu", "relu"])
@pytest.mark.parametrize("sampled", [False, True], ids=["whole", "sampled"])
def test_the_sum_and_its_backward_are_their_naive_twin(sampled, function, deferred, cut, dtype):
    """Sampled: of every other row and column alone, and the gradient is zero at the others."""
    generator = np.random.default_rng(cut)
    u, v = (Tensor(generator, cut, dtype, function * activation, before) for activation, before in zip(deferred, (0, 3)))
    layer, workspace = ResidualSum(ROWS, Workspace(dtype), function, sampled), Workspace(dtype)
    poison(layer, u.ours.layout)
    layer.workspace.scratch(50)[...] = np.nan
    y = layer.forward(u.ours, v.ours)
    read = np.s_[:, :, ::2, ::2] if sampled else np.s_[:]
    total = u.values + v.values
    assert relative_difference(y.values(), FUNCTIONS[function](total[read])) <= TOLERANCE[dtype]
    assert padding_is_zero(y.data, y.layout)

    dout = generator.normal(size=total[read].shape).astype(dtype).astype(np.float64)
    layer.workspace.scratch(50)[...] = np.nan
    gradient = layer.backward(Gradient(stored=packed(dout, dtype, cut[1])[0]))
    expected = np.zeros_like(total)
    expected[read] = dout * SLOPES[function](total[read])
    assert padding_is_zero(gradient.stored, y.layout)
    # As who takes it reads it: as rows of its own, and added to others.
    layout = u.ours.layout
    for given, more in ((gradient, 0), (replace(gradient, addend=gradient.stored), expected)):
        out = poisoned((layout.chunks, ROWS, layout.stride), dtype)
        workspace.scratch(50)[...] = np.nan
        assert relative_difference(layout.unpack(materialise(given, out, layout, workspace)), expected + more) <= TOLERANCE[dtype]
        assert padding_is_zero(out, layout)
    for tensor in (u, v):
        tensor.check_sums(expected, TOLERANCE[dtype])


def test_a_sum_of_zero_has_the_slope_one():
    """ELU's derivative is continuous there; PyTorch's, and ours, is 1 on both sides."""
    layer = ResidualSum(1, Workspace("float64"), ELU)
    x = np.zeros((2, 1, 1, 1))
    stored, layout = packed(x, "float64")
    plain = layer.workspace.plain(stored, layout)
    layer.forward(plain, plain)
    assert (layout.unpack(layer.backward(Gradient(stored=packed(x + 3, "float64")[0])).stored) == 3).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cut", CUTS, ids=str)
@pytest.mark.parametrize("activation", FUNCTIONS, ids=["none", "elu", "relu"])
def test_the_average_and_its_backward_are_their_naive_twin(activation, cut, dtype):
    generator = np.random.default_rng(cut)
    x = Tensor(generator, cut, dtype, activation, before=len(cut) - 2)
    layer = AveragePool(AveragePoolSpec("pool", ROWS, (1, 1)), Workspace(dtype))
    layer.workspace.scratch(50)[...] = np.nan
    features = layer.forward(x.ours)
    assert features.dtype == dtype
    assert relative_difference(features, naive.average_pool(x.values)) <= TOLERANCE[dtype]

    layer.dx.stored[...] = np.nan
    dfeatures = generator.normal(size=features.shape).astype(dtype)
    gradient = layer.backward(dfeatures)
    expected = naive.average_pool_backward(dfeatures.astype(float), x.data.shape)
    assert relative_difference(x.ours.layout.unpack(gradient.stored), expected) <= TOLERANCE[dtype]
    assert padding_is_zero(gradient.stored, x.ours.layout)
    x.check_sums(expected, TOLERANCE[dtype])


def test_an_average_keeps_a_nan_in_its_own_image():
    x = np.zeros((5, 2, 3, 3))
    x[3, 1, 2, 2] = np.nan
    layer = AveragePool(AveragePoolSpec("pool", 2, (1, 1)), Workspace("float32"))
    stored, layout = packed(x, "float32", 4)
    for activation in (False, True):
        features = layer.forward(replace(layer.workspace.plain(stored, layout), activation=activation))
        assert np.array_equal(np.argwhere(np.isnan(features)), [[3, 1]])
