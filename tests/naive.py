"""Every operation of a network and its gradient, in plain NumPy: slow, short and obviously right.

Read it with docs/backprop.md, which derives the gradients; the tests compare the kernels with these functions. `naive_network.py`
combines them into a network.

Arrays are (N, C, H, W). Gradients have a `d` in front: `dout` is the gradient of an operation's output, `dx` that of its input.
The functions keep the dtype of their arguments, for three uses: float64 as the reference, integers where the result must be
exact, and complex numbers for the complex step (so no function takes an absolute value or compares a complex number).
"""

import numpy as np

EPSILON = 1e-5
MOMENTUM = 0.1


def _pad(x: np.ndarray, padding: tuple[int, int]) -> np.ndarray:
    height, width = padding
    return np.pad(x, ((0, 0), (0, 0), (height, height), (width, width)))


def _windows(x_size: tuple[int, int], kernel: tuple[int, int], stride: int, padding: tuple[int, int]):
    """Each output pixel (y, x) with the slices of the padded input under the kernel."""
    out_height, out_width = ((size + 2 * p - k) // stride + 1 for size, p, k in zip(x_size, padding, kernel))
    for y in range(out_height):
        for x in range(out_width):
            top, left = y * stride, x * stride
            yield (y, x), (slice(top, top + kernel[0]), slice(left, left + kernel[1]))


def convolution(x, weight, bias, stride, padding):
    """x (N, I, H, W), weight (O, I, kh, kw), bias (O,) or None, padding (height, width) -> (N, O, H', W')."""
    kernel = weight.shape[2:]
    padded = _pad(x, padding)
    height, width = ((size + 2 * p - k) // stride + 1 for size, p, k in zip(x.shape[2:], padding, kernel))
    out = np.zeros((len(x), len(weight), height, width), np.result_type(x, weight))
    for (row, column), (rows, columns) in _windows(x.shape[2:], kernel, stride, padding):
        out[:, :, row, column] = np.tensordot(padded[:, :, rows, columns], weight, axes=((1, 2, 3), (1, 2, 3)))
    return out if bias is None else out + bias[:, None, None]


def convolution_input_gradient(dout, weight, x_shape, stride, padding):
    """dout (N, O, H', W') -> dx of shape `x_shape`: every output pixel gives its share back to the pixels it read."""
    dpadded = np.zeros(_pad(np.empty(x_shape), padding).shape, np.result_type(dout, weight))
    for (row, column), (rows, columns) in _windows(x_shape[2:], weight.shape[2:], stride, padding):
        dpadded[:, :, rows, columns] += np.tensordot(dout[:, :, row, column], weight, axes=(1, 0))
    height, width = padding
    return dpadded[:, :, height : height + x_shape[2], width : width + x_shape[3]]


def convolution_weight_gradient(dout, x, weight_shape, stride, padding):
    """dout (N, O, H', W') and x -> dweight of shape `weight_shape`."""
    padded = _pad(x, padding)
    dweight = np.zeros(weight_shape, np.result_type(dout, x))
    for (row, column), (rows, columns) in _windows(x.shape[2:], weight_shape[2:], stride, padding):
        dweight += np.tensordot(dout[:, :, row, column], padded[:, :, rows, columns], axes=(0, 0))
    return dweight


def convolution_bias_gradient(dout):
    """dout (N, O, H', W') -> (O,)."""
    return dout.sum(axis=(0, 2, 3))


def im2col(x, kernel, stride, padding):
    """x (N, C, H, W) -> (N, C * kh * kw, H' * W'): row (c, i, j) holds the pixel under tap (i, j) of channel c."""
    padded = _pad(x, padding)
    columns = [padded[:, :, rows, cols].reshape(len(x), -1) for _, (rows, cols) in _windows(x.shape[2:], kernel, stride, padding)]
    return np.stack(columns, axis=2)


def elu(z):
    """z where positive, else exp(z) - 1 (alpha 1). For complex z the real part chooses."""
    return np.where(z.real > 0, z, np.expm1(np.where(z.real > 0, 0, z)))


def elu_gradient(z):
    """The derivative at z: 1 where positive, else exp(z)."""
    return np.where(z > 0, 1, np.exp(np.minimum(z, 0)))


def relu(z):
    """z where z > 0, else 0."""
    return np.where(z.real > 0, z, 0)


def relu_gradient(z):
    """1 where z > 0, else 0."""
    return np.where(z.real > 0, 1.0, 0.0)


def max_pool(x, kernel, stride):
    """The largest of every window, (N, C, H, W) -> (N, C, H', W'), ceil mode; of equal values the first."""
    return np.take_along_axis(x.reshape(*x.shape[:2], -1), max_pool_places(x, kernel, stride), 2).reshape(
        *x.shape[:2], *max_pool_size(x.shape[2:], kernel, stride)
    )


def max_pool_size(size, kernel, stride):
    """(height, width) of the output: the last window of a row or column may reach beyond the map."""
    height, width = (-(-(side - kernel) // stride) + 1 for side in size)
    return height, width


def max_pool_places(x, kernel, stride):
    """The pixels (N, C, H' * W'), counted row by row, that are the largest of their windows."""
    height, width = x.shape[2:]
    found = []
    for top in (stride * y for y in range(max_pool_size((height, width), kernel, stride)[0])):
        for left in (stride * y for y in range(max_pool_size((height, width), kernel, stride)[1])):
            window = x.real[:, :, top : top + kernel, left : left + kernel]
            at = window.reshape(*x.shape[:2], -1).argmax(axis=2)
            found.append((top + at // window.shape[3]) * width + left + at % window.shape[3])
    return np.stack(found, axis=2)


def max_pool_backward(dout, x, kernel, stride):
    """dx: every output's gradient goes to the pixel that was the largest; windows overlap, so a pixel may have several."""
    dx = np.zeros((*x.shape[:2], x.shape[2] * x.shape[3]), dout.dtype)
    places = max_pool_places(x, kernel, stride)
    for n, c in np.ndindex(*x.shape[:2]):
        np.add.at(dx[n, c], places[n, c], dout[n, c].ravel())
    return dx.reshape(x.shape)


def _channel(values):
    """(C,) -> (C, 1, 1): a number for each channel, to be used with (N, C, H, W)."""
    return values[:, None, None]


def batch_norm_statistics(x):
    """Mean and biased variance (C,) over images and pixels; two passes."""
    mean = x.mean(axis=(0, 2, 3))
    deviation = x - _channel(mean)
    return mean, (deviation * deviation).mean(axis=(0, 2, 3))


def batch_norm(x, gamma, beta, mean, variance, epsilon=EPSILON):
    """(x - mean) / sqrt(variance + epsilon) * gamma + beta. Training gives the batch's statistics, inference the running ones."""
    return (x - _channel(mean)) / np.sqrt(_channel(variance) + epsilon) * _channel(gamma) + _channel(beta)


def batch_norm_running(running_mean, running_var, mean, variance, count, momentum=MOMENTUM):
    """The running statistics after a batch of `count` values a channel; the variance that goes in is the unbiased one."""
    unbiased = variance * count / (count - 1)
    return (1 - momentum) * running_mean + momentum * mean, (1 - momentum) * running_var + momentum * unbiased


def batch_norm_training_backward(dout, x, gamma, epsilon=EPSILON):
    """dx, dgamma, dbeta where mean and variance are those of x, and so depend on it."""
    mean, variance = batch_norm_statistics(x)
    normalised = batch_norm(x, np.ones_like(gamma), np.zeros_like(gamma), mean, variance, epsilon)
    dgamma, dbeta = (dout * normalised).sum(axis=(0, 2, 3)), dout.sum(axis=(0, 2, 3))
    count = x.size / x.shape[1]
    centred = dout - _channel(dbeta) / count - normalised * _channel(dgamma) / count
    return _channel(gamma / np.sqrt(variance + epsilon)) * centred, dgamma, dbeta


def batch_norm_inference_backward(dout, x, gamma, mean, variance, epsilon=EPSILON):
    """dx, dgamma, dbeta where mean and variance are constants."""
    normalised = batch_norm(x, np.ones_like(gamma), np.zeros_like(gamma), mean, variance, epsilon)
    dx = dout * _channel(gamma / np.sqrt(variance + epsilon))
    return dx, (dout * normalised).sum(axis=(0, 2, 3)), dout.sum(axis=(0, 2, 3))


def dropout(x, mask, probability):
    """x where mask is 1, scaled by 1 / (1 - probability); else 0. Its own backward: dx = dropout(dout, mask, probability)."""
    return x * mask / (1 - probability)


def average_pool(x):
    """Mean over the whole map: (N, C, H, W) -> (N, C)."""
    return x.mean(axis=(2, 3))


def average_pool_backward(dout, x_shape):
    """dout (N, C) -> dx (N, C, H, W): each pixel has an equal share."""
    return np.broadcast_to(dout[:, :, None, None] / (x_shape[2] * x_shape[3]), x_shape).copy()


def linear(x, weight, bias):
    """x (N, I), weight (O, I), bias (O,) -> (N, O)."""
    return x @ weight.T + bias


def linear_backward(dout, x, weight):
    """dx, dweight, dbias."""
    return dout @ weight, dout.T @ x, dout.sum(axis=0)


def softmax_cross_entropy(logits, labels, class_weights=None):
    """logits (N, classes), labels (N,) -> mean loss, dlogits. The largest logit is taken off before exp.

    class_weights: (classes,), for a weighted mean.
    """
    shifted = logits - logits.real.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    total = exponentials.sum(axis=1, keepdims=True)
    images = np.arange(len(logits))
    weights = np.ones(len(logits)) if class_weights is None else class_weights[labels]
    share = weights / weights.sum()
    loss = (share * (np.log(total[:, 0]) - shifted[images, labels])).sum()
    dlogits = exponentials / total
    dlogits[images, labels] -= 1
    return loss, dlogits * share[:, None]


def sgd(parameter, gradient, velocity, lr, momentum, nesterov, weight_decay):
    """One step in PyTorch's form: weight decay joins the gradient, velocity sums gradients. -> parameter, velocity."""
    gradient = gradient + weight_decay * parameter
    velocity = momentum * velocity + gradient
    step = gradient + momentum * velocity if nesterov else velocity
    return parameter - lr * step, velocity
