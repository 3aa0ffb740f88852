"""A single basic block with random parameters, poisoned memory and a deferred input; and its naive twin."""

from dataclasses import replace

import numpy as np

from minisqx.kernels.activation import NO_ACTIVATION, number_of
from minisqx.kernels.structures import Parameters
from minisqx.layers import Activation, BasicBlock, Concatenation, Gradient, Workspace, materialise
from tests import naive
from tests.kernel_calls import packed, padding_is_zero, poisoned
from tests.layer_shapes import Shape

# What of the input is left to the block: nothing, a batch norm's scale and shift, or these and an ELU.
# What follows the convolution, and the activation, of every network here; the fourth is there for the options.
BLOCKS = [("conv-act-bn", "elu"), ("conv-bn-act", "elu"), ("conv-bn-act", "relu"), ("conv-act-bn", "relu"), ("conv-act", "relu")]
DEFERRED = ("nothing", "affine", "activation")
_SCRATCH_ROWS = 2000
_STATISTICS = ("scale", "shift", "mean", "variance", "sums")


def channels(values):
    return values[:, None, None]


def normal(generator, *shape):
    return generator.normal(size=shape)


def integers(generator, *shape):
    """Small enough that float32 holds every sum exactly."""
    return generator.integers(-4, 5, shape).astype(np.float64)


def poison_activation_backward(activation_backward) -> None:
    """What the backward pass through an ELU writes."""
    for buffer in (activation_backward.ds, activation_backward.chunk_sums):
        buffer[...] = np.nan


class Naive:
    """The same block in plain NumPy. Complex numbers go through `forward`."""

    def __init__(self, shape: Shape, activated: int, order: str, activation: str = "elu"):
        self.shape, self.activated, self.order = shape, activated, order
        self.function = {"elu": naive.elu, "relu": naive.relu}[activation]
        self.slope = {"elu": naive.elu_gradient, "relu": naive.relu_gradient}[activation]

    def convolution(self, x, weight, bias):
        return naive.convolution(x, weight, bias, self.shape.stride, self.shape.padding)

    def activate(self, z):
        return np.concatenate([self.function(z[:, : self.activated]), z[:, self.activated :]], axis=1)

    def _derivative(self, z):
        return np.concatenate([self.slope(z[:, : self.activated]), np.ones_like(z[:, self.activated :])], axis=1)

    def forward(self, x, weight, bias, gamma, beta):
        z = self.convolution(x, weight, bias)
        if self.order == "conv-bn-act":
            return self.activate(naive.batch_norm(z, gamma, beta, *naive.batch_norm_statistics(z)))
        e = self.activate(z)
        if self.order == "conv-act":
            return e
        return naive.batch_norm(e, gamma, beta, *naive.batch_norm_statistics(e))

    def before_activation(self, x, weight, bias, gamma, beta):
        """What the activation is applied to."""
        z = self.convolution(x, weight, bias)
        if self.order == "conv-bn-act":
            z = naive.batch_norm(z, gamma, beta, *naive.batch_norm_statistics(z))
        return z[:, : self.activated]

    def backward(self, dout, x, weight, bias, gamma, beta) -> dict[str, np.ndarray]:
        z = self.convolution(x, weight, bias)
        if self.order == "conv-act":
            dz = dout * self._derivative(z)
            return {"z": dz, **self.convolution_backward(dz, x, weight)}
        if self.order == "conv-bn-act":
            normalised = naive.batch_norm(z, gamma, beta, *naive.batch_norm_statistics(z))
            dz, dgamma, dbeta = naive.batch_norm_training_backward(dout * self._derivative(normalised), z, gamma)
        else:
            de, dgamma, dbeta = naive.batch_norm_training_backward(dout, self.activate(z), gamma)
            dz = de * self._derivative(z)
        return {"z": dz, **self.convolution_backward(dz, x, weight), "gamma": dgamma, "beta": dbeta}

    def convolution_backward(self, dz, x, weight) -> dict[str, np.ndarray]:
        stride, padding = self.shape.stride, self.shape.padding
        return {
            "x": naive.convolution_input_gradient(dz, weight, x.shape, stride, padding),
            "weight": naive.convolution_weight_gradient(dz, x, weight.shape, stride, padding),
            "bias": naive.convolution_bias_gradient(dz),
        }


class BlockCase:
    """One block, its input and its naive twin.

    order, activation: of `BLOCKS`. shortcut_activation: whether the second of two convolutions has an activation; for a single
    one, whether that has. draw: `normal` or `integers`. before: rows of poison before the input's. out_row: the output's first
    row in a tensor of more rows, if not 0. arrays: the input as it is stored, its scale and shift, and the parameters, in
    float64 but rounded to `dtype`.
    """

    def __init__(
        self, shape: Shape, dtype="float64", images=5, images_per_chunk=2, deferred="affine", order="conv-act-bn",
        activation="elu", shortcut_activation=True, draw=normal, seed=0, before=0, out_row=0,
    ):  # fmt: skip
        specs = [replace(spec, order=order, activation=activation) for spec in shape.specs]
        if not shortcut_activation:
            specs[-1] = replace(specs[-1], activation=None)
        self.shape, self.dtype, self.deferred = shape, np.dtype(dtype), deferred
        outputs = sum(shape.outputs)
        self.generator = generator = np.random.default_rng(seed)
        rounded = {
            "weight": draw(generator, outputs, shape.inputs, *shape.kernel) / (1 if draw is integers else np.sqrt(shape.inputs)),
            "bias": draw(generator, outputs),
            "gamma": draw(generator, outputs if order != "conv-act" else 0),
            "beta": draw(generator, outputs if order != "conv-act" else 0),
            "data": draw(generator, images, shape.inputs, *shape.size),
            "scale": draw(generator, shape.inputs) if deferred != "nothing" else np.ones(shape.inputs),
            "shift": draw(generator, shape.inputs) if deferred != "nothing" else np.zeros(shape.inputs),
        }
        self.arrays = {name: values.astype(dtype).astype(np.float64) for name, values in rounded.items()}
        self.activated = sum(spec.out_channels for spec in specs if spec.activation)
        self.naive = Naive(shape, self.activated, order, activation)
        self.workspace = Workspace(dtype)
        self.parameters = Parameters(*(self._ours(name) for name in ("weight", "bias", "gamma", "beta")))
        self.gradients = Parameters(
            *(np.empty_like(getattr(self.parameters, name)) for name in ("weight", "bias", "gamma", "beta"))
        )
        running = np.zeros(outputs, dtype), np.ones(outputs, dtype)
        joint = Concatenation(out_row + outputs + 1, self.workspace) if out_row else None
        self.block = BasicBlock(tuple(specs), self.parameters, self.gradients, *running, self.workspace, joint, out_row)
        # More rows than the block reads, as where a shortcut's channels lie behind or a bottleneck's before: poison.
        more = [np.full((images, rows, *shape.size), np.nan) for rows in (before, 2)]
        data = np.concatenate([more[0], self.arrays["data"], more[1]], axis=1)
        stored, layout = packed(data, dtype, images_per_chunk)
        number = number_of(activation) if deferred == "activation" else NO_ACTIVATION
        sums = np.empty((shape.inputs, 2))
        self.input = Activation(stored, layout, before, self._ours("scale"), self._ours("shift"), number, sums)

    def _ours(self, name: str) -> np.ndarray:
        values = self.arrays[name].astype(self.dtype)
        return values.reshape(len(values), -1) if name == "weight" else values

    @property
    def affine(self) -> np.ndarray:
        """The input (N, C, H, W) with its scale and shift, without its ELU."""
        return self.arrays["data"] * channels(self.arrays["scale"]) + channels(self.arrays["shift"])

    @property
    def x(self) -> np.ndarray:
        """The input's values, as a reader sees them."""
        return self.naive.function(self.affine) if self.deferred == "activation" else self.affine

    def before_activations(self) -> np.ndarray:
        """Every number that goes into an ELU, flat."""
        inner = self.naive.before_activation(*self.naive_arguments).ravel()
        return np.concatenate([inner, self.affine.ravel()]) if self.deferred == "activation" else inner

    @property
    def naive_arguments(self) -> tuple[np.ndarray, ...]:
        return (self.x, *(self.arrays[name] for name in ("weight", "bias", "gamma", "beta")))

    @property
    def out_layout(self):
        return self.input.layout.resized(*self.shape.specs[0].output_size)

    def poison(self, keep: tuple[str, ...]) -> None:
        """Everything that the block writes, but for the attributes `keep`."""
        block = self.block
        constant = () if block.has_norm else ("scale", "shift")
        for owner, names in ((block, ("folded_weight", "folded_bias", "flipped_weight")), (block.norm, _STATISTICS)):
            for name in names:
                if name not in (*keep, *constant):
                    getattr(owner, name)[...] = np.nan
        buffers = block.buffers_for(self.input.layout)
        for name in ("e", "moments", "gradients"):
            if name not in keep:
                getattr(buffers, name)[...] = np.nan
        poison_activation_backward(buffers.activation_backward)
        self.workspace.scratch(_SCRATCH_ROWS)[...] = np.nan
        self.input.sums[...] = np.nan
        for name in ("weight", "bias", "gamma", "beta"):
            getattr(self.gradients, name)[...] = np.nan

    def forward(self) -> np.ndarray:
        """The output's values (N, C, H, W), of one or two convolutions, through poisoned memory."""
        self.poison(keep=())
        y = self.outputs()
        assert padding_is_zero(self.stored, self.out_layout)
        return y

    @property
    def stored(self) -> np.ndarray:
        """What the block stored in the last forward pass, or dz after a backward pass if the batch norm comes last."""
        return self.block.buffers.e[:, self.block.row : self.block.row + self.block.channels]

    def outputs(self) -> np.ndarray:
        """The same, again and again."""
        self.block.forward(self.input)
        return np.concatenate([part.values() for part in self.block.outputs], axis=1)

    def load(self) -> None:
        """Takes over what was changed in `arrays`."""
        for name in ("weight", "bias", "gamma", "beta"):
            getattr(self.parameters, name)[...] = self._ours(name)
        rows = slice(self.input.row, self.input.row + self.shape.inputs)
        self.input.data[:, rows] = self.input.layout.pack(self.arrays["data"], np.empty_like(self.input.data[:, rows]))

    def backward(self, dout: np.ndarray, keep_dz: bool = True) -> dict[str, np.ndarray]:
        """Gradients for dout (N, C, H', W'), of the values of the input and of all parameters. `forward` comes first.

        Without keep_dz the input's gradient means nothing.
        """
        data, _ = packed(dout, self.dtype, self.input.layout.images_per_chunk)
        self.poison(keep=("e", "scale", "shift", "mean", "variance"))
        if not self.block.norm_first and self.block.has_norm:
            # Written by the backward of the layer that reads the output: sum g, sum g e.
            e = self.out_layout.unpack(self.stored)
            self.block.norm.sums[:] = np.stack([dout.sum(axis=(0, 2, 3)), (dout * e).sum(axis=(0, 2, 3))], axis=1)
        return self.finish(self.block.backward(Gradient(stored=data), keep_dz))

    def finish(self, gradient: Gradient) -> dict[str, np.ndarray]:
        """The gradients after the block's backward, the input's written out."""
        dz = self.block.buffers.dz
        assert padding_is_zero(dz.data[:, dz.row : dz.row + self.block.channels], self.out_layout)
        out = poisoned((self.input.layout.chunks, self.shape.inputs, self.input.layout.stride), self.dtype)
        self.workspace.scratch(_SCRATCH_ROWS)[...] = np.nan
        dx = self.input.layout.unpack(materialise(gradient, out, self.input.layout, self.workspace))
        assert padding_is_zero(out, self.input.layout)
        named = {name: getattr(self.gradients, name).copy() for name in ("bias", "gamma", "beta")}
        found = {name: values for name, values in named.items() if values.size}
        return {"x": dx, "weight": self.gradients.weight.reshape(self.arrays["weight"].shape).copy(), **found}
