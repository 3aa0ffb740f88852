"""A model as every exporter writes it: the steps that our own inference runs, for one image, with their constants."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from minisqx.errors import OptionError
from minisqx.inference.model import Model
from minisqx.kernels import frozen
from minisqx.spec import LinearSpec, NetworkSpec, Size
from minisqx.spec.activations import ACTIVATIONS
from minisqx.steps import StepTable, check_ending, constant_weights

MOST_VALUES = 1 << 29  # of the working memory: 2 GiB of float32, so that an offset in bytes fits into 32 bits


@dataclass(frozen=True)
class Place:
    """A tensor (channels, height, width) of float32, contiguous, that begins at the value `at` of the working memory."""

    at: int
    channels: int
    size: Size


@dataclass(frozen=True)
class Step:
    """A step from one or two tensors to the next. name: of the layer."""

    name: str
    x: Place
    y: Place

    @property
    def macs(self) -> int:
        """Multiply-adds of its convolution."""
        return 0


@dataclass(frozen=True, eq=False)
class Convolution(Step):
    """y = f(convolution of x + bias) * scale + shift.

    activation: f, on the first `activated` channels; None: none. weight: (channels of x * taps, channels of y); bias, scale and
    shift: (channels of y,); scale and shift are None where they change nothing. All float32.
    """

    kernel: Size
    stride: Size
    padding: Size
    activation: str | None
    activated: int
    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray | None
    shift: np.ndarray | None

    @property
    def macs(self) -> int:
        return self.weight.size * self.y.size[0] * self.y.size[1]

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """Rows and columns of zeros that it reads above, left of, below and right of the map: taps that miss the map for every
        pixel are left out, so those below and right may be fewer.
        """
        after = (
            max(0, (outputs - 1) * stride + kernel - size - before)
            for outputs, stride, kernel, size, before in zip(self.y.size, self.stride, self.kernel, self.x.size, self.padding)
        )
        return (*self.padding, *after)  # type: ignore[return-value]


@dataclass(frozen=True)
class Sum(Step):
    """y = f(x + other); where the map of `other` is larger, every other pixel of every other row of it."""

    other: Place
    activation: str | None


@dataclass(frozen=True)
class MaxPool(Step):
    """The maximum of each window, `stride` apart; windows may reach beyond the map's lower and right edge."""

    kernel: Size
    stride: Size


@dataclass(frozen=True, eq=False)
class Program:
    """The steps from an image to its logits.

    values: (3, 256), the input for each value of each colour; the input (3, height, width) begins at 0 of the working memory,
    which has `memory` values. After the last step each channel of its output is averaged: these are the logits, or the features
    that the classifier reads. weight: (features, classes), bias: (classes,), or None without a classifier. All float32. Logits
    are those of the network, divided by the model's temperature.
    spec_macs: multiply-adds of the description; `macs` are less where a stride skips pixels.
    """

    name: str
    network: NetworkSpec
    classes: tuple[str, ...]
    values: np.ndarray
    steps: tuple[Step, ...]
    memory: int
    weight: np.ndarray | None
    bias: np.ndarray | None

    @property
    def constants(self) -> list[np.ndarray]:
        """Every array of weights, in the order of the steps."""
        arrays: list[np.ndarray | None] = []
        for step in self.steps:
            if isinstance(step, Convolution):
                arrays += [step.weight, step.bias, step.scale, step.shift]
        return [array for array in (*arrays, self.weight, self.bias) if array is not None]

    @property
    def macs(self) -> int:
        """Multiply-adds per image, as the steps compute it."""
        return sum(step.macs for step in self.steps) + (0 if self.weight is None else self.weight.size)

    @property
    def sha256(self) -> str:
        """Of the constants, little-endian."""
        digest = hashlib.sha256()
        for array in (self.values, *self.constants):
            digest.update(array.astype("<f4").tobytes())
        return digest.hexdigest()


class _Table(StepTable):
    """The table of steps for one image, with maps that lie close together; kernels' own arrays are not made."""

    def _build(self) -> None:
        pass

    def _stride(self, size: Size) -> int:
        return size[0] * size[1]

    def _table(self, geometry, size) -> int:
        return 0

    @property
    def memory(self) -> int:
        return self._memory.size


def program_of(model: Model) -> Program:
    """Raises CheckpointError for a model without class names or normalisation, or with numbers that are not finite; OptionError
    for one that can't be exported.
    """
    model.check_described()
    spec = model.spec
    check_ending(spec)
    weights, places = constant_weights(spec, model.state)
    table = _Table(spec, places, 1, np.empty(0, np.float32))
    if table.memory > MOST_VALUES:
        raise OptionError(
            f"{spec.name} for images of {spec.input_size[0]} x {spec.input_size[1]} pixels needs {4 * table.memory:,} bytes of"
            f" memory: expected at most {4 * MOST_VALUES:,}; train it for smaller images"
        )
    linear = next((layer.name for layer in spec.layers if isinstance(layer, LinearSpec)), None)
    mean, std = np.array([model.mean, model.std])[:, :, None]
    # What is too large for float32 becomes infinite, and is refused below.
    program = Program(
        name=model.name,
        network=spec,
        classes=tuple(model.classes or ()),
        values=((np.arange(256) / 255 - mean) / std).astype(np.float32),
        steps=tuple(_step(name, row, weights) for name, row in zip(table.names, table.steps)),
        memory=table.memory,
        weight=None if linear is None else np.ascontiguousarray(model.state[f"{linear}.weight"].T, np.float32),
        bias=None if linear is None else model.state[f"{linear}.bias"].astype(np.float32),
    )
    if model.temperature != 1:
        program = _cooler(program, model.temperature)
    for array in (program.values, *program.constants):
        model.check_finite(array)
    return program


def _cooler(program: Program, temperature: float) -> Program:
    """The program with its logits divided by the temperature, so that every format gives the model's probabilities."""
    if program.weight is not None and program.bias is not None:
        return replace(program, weight=program.weight / temperature, bias=program.bias / temperature)
    *steps, last = program.steps
    if not isinstance(last, Convolution):
        raise OptionError(f"{program.name} ends with neither a classifier nor a convolution: it can't be exported")
    scale = np.ones_like(last.bias) if last.scale is None else last.scale
    shift = np.zeros_like(last.bias) if last.shift is None else last.shift
    return replace(program, steps=(*steps, replace(last, scale=scale / temperature, shift=shift / temperature)))


def _step(name: str, row: np.ndarray, weights: np.ndarray) -> Step:
    kernel, stride, _, padding, in_size, out_size = (_pair(row, frozen.GEOMETRY + 2 * n) for n in range(6))
    channels, out = int(row[frozen.ROWS]), int(row[frozen.OUT_AT])
    y = Place(out, channels, out_size)
    activation = ACTIVATIONS[row[frozen.ACTIVATION] - 1] if row[frozen.ACTIVATION] else None
    if row[frozen.KIND] == frozen.SUM:
        other = Place(int(row[frozen.OTHER_AT]), channels, in_size)
        return Sum(name, Place(int(row[frozen.IN_AT]), channels, out_size), y, other, activation)
    x = Place(int(row[frozen.IN_AT]), int(row[frozen.IN_ROWS]), in_size)
    if row[frozen.KIND] == frozen.MAX_POOL:
        return MaxPool(name, x, y, kernel, stride)
    depth, at = x.channels * kernel[0] * kernel[1], int(row[frozen.WEIGHT_AT])
    ends = np.cumsum([depth * channels, channels, channels, channels])
    pieces = np.split(weights[at : at + ends[-1]].astype(np.float32), ends[:-1])
    weight, bias, scale, shift = pieces
    is_folded = bool((scale == 1).all() and (shift == 0).all())
    return Convolution(
        name,
        x,
        y,
        kernel,
        stride,
        padding,
        activation,
        int(row[frozen.ACTIVATED]),
        weight.reshape(depth, channels),
        bias,
        None if is_folded else scale,
        None if is_folded else shift,
    )


def _pair(row: np.ndarray, at: int) -> Size:
    return int(row[at]), int(row[at + 1])
