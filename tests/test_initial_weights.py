"""A new network starts as in the authors' code: Xavier uniform weights with gain sqrt(2), biases 0, batch norms the identity."""

import numpy as np

import minisqx


def test_weights_are_xavier_uniform_with_gain_sqrt_2():
    net = minisqx.ShallowSqueezeNext(width=1.0, num_classes=100)
    for name, weight in net.parameters().items():
        if not name.endswith(".weight"):
            continue
        outputs, inputs, *kernel = weight.shape
        bound = np.sqrt(2) * np.sqrt(6 / ((outputs + inputs) * np.prod(kernel, initial=1)))
        assert np.abs(weight).max() <= bound, name
        # Uniform: the standard deviation is the bound over sqrt(3), and all of the range is used.
        assert abs(weight.std() / bound * np.sqrt(3) - 1) < 8 / np.sqrt(weight.size), name
        assert abs(weight.mean()) < 5 * bound / np.sqrt(weight.size), name
        assert np.abs(weight).max() > bound * (1 - 12 / weight.size), name


def test_biases_are_zero_and_batch_norms_change_nothing():
    net = minisqx.ShallowSqueezeNext(width=0.2)
    start = {"bias": 0, "beta": 0, "gamma": 1, "running_mean": 0, "running_var": 1}
    for name, values in (net.parameters() | net.buffers()).items():
        kind = name.rpartition(".")[2]
        assert kind == "weight" or (values == start[kind]).all(), name


def test_both_types_start_with_the_same_weights():
    single, double = (minisqx.ShallowSqueezeNext(width=0.125, seed=5, dtype=dtype) for dtype in ("float32", "float64"))
    assert np.array_equal(single.flat_parameters, double.flat_parameters.astype(np.float32))
