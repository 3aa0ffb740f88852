"""The yardsticks hold each other: naive gradients are the naive functions' derivatives, the naive network is PyTorch's."""

import numpy as np
import pytest

from minisqx.gradcheck import central_differences, relative_difference, sample
from tests import naive
from tests.golden.store import read
from tests.gradient_check import complex_step
from tests.naive_network import NaiveNetwork
from tests.test_golden import FILES, IDENTIFIERS

EXACT = 1e-12  # the complex step has no truncation error; sums of a few hundred float64 terms

# Gradients pass through twice as many layers. What is zero (a bias straight before a batch norm) is rounding noise on both sides.
EXACT_GRADIENT = 1e-10


def derivative(function, array, dout):
    """d sum(dout * function(array)) / d array, by the complex step."""
    flat = complex_step(lambda shifted: (dout * function(shifted)).sum(), array, np.arange(array.size))
    return flat.reshape(array.shape)


def random(*shape):
    return np.random.default_rng(shape).normal(size=shape)


@pytest.mark.parametrize(
    "kernel, stride, padding", [((1, 1), 1, (0, 0)), ((1, 1), 2, (0, 0)), ((1, 3), 1, (0, 1)), ((3, 2), 2, (1, 1))]
)
def test_naive_convolution_gradients_are_its_derivatives(kernel, stride, padding):
    x, weight, bias = random(2, 3, 5, 6), random(4, 3, *kernel), random(4)
    dout = random(*naive.convolution(x, weight, bias, stride, padding).shape)
    dx = naive.convolution_input_gradient(dout, weight, x.shape, stride, padding)
    dweight = naive.convolution_weight_gradient(dout, x, weight.shape, stride, padding)
    assert relative_difference(derivative(lambda v: naive.convolution(v, weight, bias, stride, padding), x, dout), dx) < EXACT
    assert (
        relative_difference(derivative(lambda v: naive.convolution(x, v, bias, stride, padding), weight, dout), dweight) < EXACT
    )
    dbias = naive.convolution_bias_gradient(dout)
    assert relative_difference(derivative(lambda v: naive.convolution(x, weight, v, stride, padding), bias, dout), dbias) < EXACT


@pytest.mark.parametrize("kernel, stride, padding", [((1, 1), 2, (0, 0)), ((3, 1), 1, (1, 0)), ((3, 3), 2, (1, 1))])
def test_naive_im2col_times_the_weight_is_the_naive_convolution_exactly(kernel, stride, padding):
    generator = np.random.default_rng(0)
    x, weight = generator.integers(-9, 9, (2, 3, 7, 6)), generator.integers(-9, 9, (4, 3, *kernel))
    out = naive.convolution(x, weight, None, stride, padding)
    product = weight.reshape(4, -1) @ naive.im2col(x, kernel, stride, padding)
    assert out.dtype == x.dtype and out.any()
    assert np.array_equal(product.reshape(out.shape), out)


def test_naive_elu_gradient_is_its_derivative():
    z = random(4, 50)
    assert relative_difference(derivative(naive.elu, z, np.ones_like(z)), naive.elu_gradient(z)) < EXACT


def test_naive_batch_norm_gradients_are_its_derivatives():
    x, gamma, beta, dout = random(3, 2, 4, 5), random(2), random(2), random(3, 2, 4, 5)[::-1].copy()
    mean, variance = random(1, 2)[0], np.array([0.5, 2.0])

    def training(x, gamma, beta):
        return naive.batch_norm(x, gamma, beta, *naive.batch_norm_statistics(x))

    def inference(x, gamma, beta):
        return naive.batch_norm(x, gamma, beta, mean, variance)

    for function, gradients in (
        (training, naive.batch_norm_training_backward(dout, x, gamma)),
        (inference, naive.batch_norm_inference_backward(dout, x, gamma, mean, variance)),
    ):
        assert relative_difference(derivative(lambda v, f=function: f(v, gamma, beta), x, dout), gradients[0]) < EXACT
        assert relative_difference(derivative(lambda v, f=function: f(x, v, beta), gamma, dout), gradients[1]) < EXACT
        assert relative_difference(derivative(lambda v, f=function: f(x, gamma, v), beta, dout), gradients[2]) < EXACT


def test_naive_pooling_dropout_and_linear_gradients_are_their_derivatives():
    x, dout = random(3, 4, 2, 5), random(3, 4)
    assert relative_difference(derivative(naive.average_pool, x, dout), naive.average_pool_backward(dout, x.shape)) < EXACT
    mask = (random(3, 4, 2, 5) > 0).astype(float)
    dropped = derivative(lambda v: naive.dropout(v, mask, 0.3), x, x)
    assert relative_difference(dropped, naive.dropout(x, mask, 0.3)) < EXACT
    features, weight, bias = random(3, 6), random(4, 6), random(4)
    dfeatures, dweight, dbias = naive.linear_backward(dout, features, weight)
    assert relative_difference(derivative(lambda v: naive.linear(v, weight, bias), features, dout), dfeatures) < EXACT
    assert relative_difference(derivative(lambda v: naive.linear(features, v, bias), weight, dout), dweight) < EXACT
    assert relative_difference(derivative(lambda v: naive.linear(features, weight, v), bias, dout), dbias) < EXACT


def test_naive_cross_entropy_gradient_is_its_derivative():
    logits, labels = 5 * random(4, 7), np.array([0, 6, 3, 3])
    gradient = naive.softmax_cross_entropy(logits, labels)[1]
    assert relative_difference(derivative(lambda v: naive.softmax_cross_entropy(v, labels)[0], logits, 1), gradient) < EXACT


def test_central_differences_agree_with_the_complex_step():
    z = random(3, 40)
    numeric = central_differences(lambda: naive.elu(z).sum(), z, sample(z.size, 30))
    exact = complex_step(lambda v: naive.elu(v).sum(), z, sample(z.size, 30))
    assert relative_difference(numeric, exact) < 1e-8


@pytest.mark.parametrize("path", FILES, ids=IDENTIFIERS)
def test_naive_network_computes_what_pytorch_computed(path):
    golden = read(path)
    network = NaiveNetwork(golden.spec, golden.state, golden.mask)
    logits = network.forward(golden.x, training=True)
    loss, dlogits = naive.softmax_cross_entropy(logits, golden.labels)
    for name, expected in golden.expected["activations"].items():
        assert expected.difference(np.array(loss) if name == "loss" else network.activations[name]) < EXACT, name
    for name, expected in golden.expected["after_one_forward"].items():
        assert expected.difference(network.running[name]) < EXACT, name
    dx = network.backward(dlogits)
    for name, expected in golden.expected["gradients"].items():
        assert expected.difference(dx if name == "input" else network.gradients[name]) < EXACT_GRADIENT, name
    assert golden.expected["evaluation"]["logits"].difference(network.forward(golden.x, training=False)) < EXACT
