"""The classifier, the loss and the optimizer's step against their naive twins."""

from types import SimpleNamespace

import numpy as np
import pytest

import minisqx
from minisqx.gradcheck import relative_difference
from minisqx.kernels import average, linear, sgd
from minisqx.kernels.loss import softmax_cross_entropy
from minisqx.training.distillation import distillation
from tests import naive
from tests.kernel_calls import DTYPES

TOLERANCE = {"float32": 1e-6, "float64": 1e-14}


def nan_like(*arrays):
    return [np.full_like(array, np.nan) for array in arrays]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("images, features, classes", [(1, 1, 1), (1, 25, 10), (128, 25, 10), (7, 128, 100), (5, 3, 2)])
def test_the_linear_layer_of_integers_is_exact(images, features, classes, dtype):
    generator = np.random.default_rng(images)
    x, weight, bias, dout = (
        generator.integers(-9, 10, shape).astype(dtype)
        for shape in ((images, features), (classes, features), (classes,), (images, classes))
    )
    logits, dx, dweight, dbias = nan_like(dout, x, weight, bias)
    linear.forward(logits, x, weight, bias)
    assert np.array_equal(logits, naive.linear(x, weight, bias))
    linear.backward(dx, dweight, dbias, dout, x, weight, np.empty(classes * features + classes + features))
    for found, expected in zip((dx, dweight, dbias), naive.linear_backward(dout, x, weight)):
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("images, classes", [(1, 1), (1, 2), (5, 10), (130, 100)])
def test_cross_entropy_is_its_naive_twin_averaged_over_the_batch(images, classes, weighted, dtype):
    generator = np.random.default_rng(images)
    logits = generator.normal(0, 5, (images, classes)).astype(dtype)
    labels = generator.integers(0, classes, images)
    (dlogits,) = nan_like(logits)
    weights = generator.uniform(0.1, 10, classes) if weighted else np.ones(classes)
    loss = softmax_cross_entropy(dlogits, logits, labels, weights)
    expected_loss, expected = naive.softmax_cross_entropy(logits.astype(float), labels, weights)
    assert loss == pytest.approx(expected_loss, rel=1e-13, abs=1e-15)
    assert relative_difference(dlogits, expected, 1 / images) <= TOLERANCE[dtype]
    # Softmax less one-hot: whatever the labels, each row adds up to nothing.
    assert np.abs(dlogits.sum(axis=1)).max() <= TOLERANCE[dtype]


def test_the_weighted_loss_is_the_one_that_pytorch_computed():
    """torch.nn.functional.cross_entropy(logits, labels, weight=weights) of PyTorch 2.13 in float64, and its gradient."""
    logits = np.array([[0.5, -1.25, 2.0], [3.0, 0.25, -0.5], [-2.0, 1.0, 0.75], [0.0, 0.0, 4.0]])
    loss, dlogits = minisqx.cross_entropy(logits, np.array([2, 0, 0, 1]), np.array([0.5, 3.0, 1.25]))
    assert loss == pytest.approx(2.7134201847604404, rel=1e-14)
    expected = [
        [0.042100043358915304, 0.007315890553913436, -0.049415933912828745],
        [-0.008193128763177052, 0.005564598535551082, 0.0026285302276259637],
        [-0.09264504204947643, 0.052082865563792304, 0.04056217648568415],
        [0.0100962411508846, -0.5613323302776868, 0.5512360891268021],
    ]
    assert relative_difference(dlogits, np.array(expected)) <= TOLERANCE["float64"]
    for weights in (np.ones(2), np.array([1.0, 0.0, 1.0]), np.array([1.0, np.nan, 1.0])):
        with pytest.raises(minisqx.errors.OptionError, match="expected 3 finite numbers over 0"):
            minisqx.cross_entropy(logits, np.array([2, 0, 0, 1]), weights)


@pytest.mark.parametrize("dtype", DTYPES)
def test_huge_logits_do_not_overflow(dtype):
    logits = np.array([[1e30, 0, -1e30], [-1e4, -1e4, -1e4], [3000, 2999, -3000]], dtype)
    (dlogits,) = nan_like(logits)
    loss = softmax_cross_entropy(dlogits, logits, np.array([0, 2, 1]), np.ones(3))
    share = 1 / (1 + np.exp(-1))
    assert loss == pytest.approx((0 + np.log(3) + (np.log1p(np.exp(-1)) + 1)) / 3, rel=1e-6)
    expected = np.array([[0, 0, 0], [1 / 3, 1 / 3, -2 / 3], [share, -share, 0]]) / 3
    assert relative_difference(dlogits, expected) <= TOLERANCE[dtype]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", [(0, 0), (1, 2), (2, 1)])
def test_a_logit_that_is_not_finite_reaches_the_loss(place, bad):
    logits = np.zeros((3, 3), np.float32)
    logits[place] = bad
    assert not np.isfinite(minisqx.cross_entropy(logits, np.zeros(3, int))[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum, weight_decay", [(0.0, 0.0), (0.9, 0.0), (0.9, 1e-2), (0.5, 1e-4)])
def test_steps_of_sgd_are_their_naive_twins(momentum, weight_decay, nesterov, dtype):
    generator = np.random.default_rng(0)
    weights, velocity = generator.normal(size=1000).astype(dtype), np.zeros(1000, dtype)
    expected, expected_velocity = weights.astype(float), np.zeros(1000)
    for lr in (0.1, 0.1, 0.02, 0.3):
        gradients = generator.normal(size=1000).astype(dtype)
        kept = gradients.copy()
        sgd.step(weights, gradients, velocity, lr, momentum, weight_decay, nesterov)
        expected, expected_velocity = naive.sgd(
            expected, kept.astype(float), expected_velocity, lr, momentum, nesterov, weight_decay
        )
        assert np.array_equal(gradients, kept)
        assert relative_difference(weights, expected) <= TOLERANCE[dtype]
        assert relative_difference(velocity, expected_velocity) <= TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_moving_average_goes_its_share_of_the_way(dtype):
    generator = np.random.default_rng(0)
    kept, values = generator.normal(size=(2, 100)).astype(dtype)
    expected = 0.75 * kept.astype(float) + 0.25 * values
    before = values.copy()
    average.step(kept, values, 0.25)
    assert relative_difference(kept, expected) <= TOLERANCE[dtype] and np.array_equal(values, before)


def test_the_optimizer_steps_over_all_parameters_with_its_own_settings():
    generator = np.random.default_rng(0)
    weights, gradients = generator.normal(size=(2, 50))
    net = SimpleNamespace(flat_parameters=weights.copy(), flat_gradients=gradients, frozen_parameters=0)
    optimizer = minisqx.SGD(net, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01)
    assert not optimizer.velocity.any()
    velocity = optimizer.velocity.copy()
    for lr in (0.1, 0.02):
        optimizer.lr = lr
        optimizer.step()
        weights, velocity = naive.sgd(weights, net.flat_gradients, velocity, lr, 0.9, True, 0.01)
        assert relative_difference(net.flat_parameters, weights) <= 1e-14
        assert relative_difference(optimizer.velocity, velocity) <= 1e-14


STUDENT = np.array([[0.5, -1.25, 2.0], [3.0, 0.25, -0.5], [-2.0, 1.0, 0.75], [0.0, 0.0, 4.0]])
TEACHER = np.array([[1.5, -0.25, 4.0], [0.0, 2.25, -3.5], [-1.0, 1.0, 0.5], [0.5, -2.0, 1.0]])
LABELS = np.array([2, 0, 0, 1])
LOSS, GRADIENT = (
    1.1981381716916386,
    [
        [0.03855709112532753, 0.02280840532606504, -0.061365496451392644],
        [0.18293400672036694, -0.26077877901792523, 0.07784477229755817],
        [-0.06736064056258925, 0.025253180652041095, 0.042107459910548255],
        [-0.14609040608606244, -0.014343604472384907, 0.16043401055844736],
    ],
)


def test_the_loss_with_a_teacher_is_the_one_that_pytorch_computed():
    """PyTorch 2.13 in float64: 0.1 cross_entropy(z, y) + 0.9 * 16 kl_div(log_softmax(z / 4), log_softmax(t / 4)), batch mean."""
    loss, dlogits, hard = distillation(STUDENT, TEACHER, LABELS)
    assert hard == minisqx.cross_entropy(STUDENT, LABELS)[0] and loss == pytest.approx(LOSS, rel=1e-14)
    assert relative_difference(dlogits, np.array(GRADIENT)) <= 1e-14
    loss32, dlogits32, _ = distillation(STUDENT.astype(np.float32), TEACHER.astype(np.float32), LABELS)
    assert dlogits32.dtype == np.float32 and loss32 == pytest.approx(loss, rel=1e-6)
    assert relative_difference(dlogits32, dlogits) <= 1e-6


def test_class_weights_weigh_both_parts_of_the_loss():
    """A class that weighs twice as much counts as if its images were there twice."""
    twice = np.concatenate([np.arange(4), np.flatnonzero(LABELS == 0)])
    loss, dlogits, _ = distillation(STUDENT, TEACHER, LABELS, np.array([2.0, 1.0, 1.0]))
    expected, gradient, _ = distillation(STUDENT[twice], TEACHER[twice], LABELS[twice])
    assert loss == pytest.approx(expected, rel=1e-14)
    assert dlogits.sum(axis=0) == pytest.approx(gradient.sum(axis=0), abs=1e-15)


def test_a_logit_that_is_not_finite_reaches_the_loss_with_a_teacher():
    for bad in (np.nan, np.inf):
        logits = STUDENT.copy()
        logits[1, 2] = bad
        assert not np.isfinite(distillation(logits, TEACHER, LABELS)[0])
