"""One step of stochastic gradient descent with momentum, Nesterov's form and weight decay, on flat buffers.

    g = dw + weight_decay w;  v = momentum v + g;  w = w - lr (g + momentum v)   with Nesterov's form, w - lr v without

As in PyTorch: the learning rate scales the step, not what the velocity holds, and the first velocity is g. Source:
Sutskever et al. 2013.
"""

from minisqx.kernels.compiler.jit import njit


@njit
def step(weights, gradients, velocity, lr, momentum, weight_decay, nesterov):
    """Updates `weights` and `velocity` in place; all three arrays are flat and of one dtype."""
    dtype = weights.dtype.type
    rate, keep, decay = dtype(lr), dtype(momentum), dtype(weight_decay)
    for i in range(weights.size):
        g = gradients[i] + decay * weights[i]
        v = keep * velocity[i] + g
        velocity[i] = v
        weights[i] -= rate * (g + keep * v if nesterov else v)
