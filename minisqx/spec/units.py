"""The units that a network is made of: names, shapes, parameters and multiply-adds, without one array."""

import math
from dataclasses import dataclass

# What follows the convolution of a basic block; without batch norm only the activation does.
BLOCK_ORDERS = ("conv-act-bn", "conv-bn-act")
WITHOUT_NORM = "conv-act"

Size = tuple[int, int]


@dataclass(frozen=True)
class ConvolutionSpec:
    """One basic block: a convolution with bias, its activation and its batch norm.

    `kernel`, `stride`, `padding`, `input_size` and `output_size` are (height, width) pairs. activation: of
    `activations.ACTIVATIONS`, or None. order: of `BLOCK_ORDERS`, or `WITHOUT_NORM`.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel: Size
    stride: Size
    padding: Size
    input_size: Size
    activation: str | None = "elu"
    order: str = "conv-act-bn"

    def size_after(self, input_size: Size) -> Size:
        """The output's (height, width) for an input of another size."""
        height, width = (
            (size + 2 * padding - kernel) // stride + 1
            for size, padding, kernel, stride in zip(input_size, self.padding, self.kernel, self.stride)
        )
        return height, width

    @property
    def output_size(self) -> Size:
        return self.size_after(self.input_size)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.out_channels, *self.output_size)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.out_channels, self.in_channels, *self.kernel)

    @property
    def has_norm(self) -> bool:
        return self.order != WITHOUT_NORM

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        channels = (self.out_channels,)
        shapes = {"weight": self.weight_shape, "bias": channels}
        return shapes | {"gamma": channels, "beta": channels} if self.has_norm else shapes

    @property
    def buffer_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"running_mean": (self.out_channels,), "running_var": (self.out_channels,)} if self.has_norm else {}

    @property
    def macs(self) -> int:
        """Multiply-adds of one image: the convolution's alone, as the field counts them."""
        return math.prod(self.weight_shape) * math.prod(self.output_size)

    @property
    def layers(self) -> tuple["ConvolutionSpec", ...]:
        return (self,)

    @property
    def groups(self) -> tuple[tuple["ConvolutionSpec", ...], ...]:
        return ((self,),)


@dataclass(frozen=True)
class BottleneckSpec:
    """Five basic blocks in a row, and a shortcut where the shape changes (`None`: the input itself); their sum's activation.

    sampled: whether what follows reads only every other row and column of the sum (stride 2, kernels of 1x1). What lies between
    them is then never computed, see `kernels/sampling.py`.
    """

    name: str
    main: tuple[ConvolutionSpec, ...]
    shortcut: ConvolutionSpec | None
    activation: str = "elu"
    sampled: bool = False

    @property
    def layers(self) -> tuple[ConvolutionSpec, ...]:
        """Every basic block, the main path before the shortcut."""
        return self.main if self.shortcut is None else (*self.main, self.shortcut)

    @property
    def groups(self) -> tuple[tuple[ConvolutionSpec, ...], ...]:
        """Convolutions that run as one: the first with the shortcut (they read the same tensor); all others alone."""
        first, *rest = self.main
        return ((first,) if self.shortcut is None else (first, self.shortcut), *((layer,) for layer in rest))

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.main[-1].output_shape


@dataclass(frozen=True)
class FireSpec:
    """SqueezeNet's fire module: `squeeze` (1x1), then `expand1` (1x1) and `expand3` (3x3) side by side, concatenated."""

    name: str
    squeeze: ConvolutionSpec
    expand1: ConvolutionSpec
    expand3: ConvolutionSpec

    @property
    def layers(self) -> tuple[ConvolutionSpec, ...]:
        return self.squeeze, self.expand1, self.expand3

    @property
    def groups(self) -> tuple[tuple[ConvolutionSpec, ...], ...]:
        return tuple((layer,) for layer in self.layers)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.expand1.out_channels + self.expand3.out_channels, *self.squeeze.output_size)


@dataclass(frozen=True)
class LinearSpec:
    """The classifier: a fully connected layer on the averaged map."""

    name: str
    in_features: int
    out_features: int

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.out_features, self.in_features), "bias": (self.out_features,)}

    @property
    def buffer_shapes(self) -> dict[str, tuple[int, ...]]:
        return {}

    @property
    def macs(self) -> int:
        return self.in_features * self.out_features

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.out_features,)

    @property
    def layers(self) -> tuple["LinearSpec", ...]:
        return (self,)

    groups = ()


@dataclass(frozen=True)
class WithoutParameters:
    """A unit that has nothing to learn. channels, input_size: of what it reads."""

    name: str
    channels: int
    input_size: Size

    layers = groups = ()

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.channels, *self.input_size)


@dataclass(frozen=True)
class MaxPoolSpec(WithoutParameters):
    """The largest of every window of `kernel` x `kernel` pixels, `stride` apart; windows may reach beyond the map (ceil mode)."""

    kernel: int = 3
    stride: int = 2

    @property
    def output_size(self) -> Size:
        height, width = (-(-(size - self.kernel) // self.stride) + 1 for size in self.input_size)
        return height, width

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.channels, *self.output_size)


@dataclass(frozen=True)
class DropoutSpec(WithoutParameters):
    """Zeroes each element with `probability` in training."""

    probability: float = 0.0


@dataclass(frozen=True)
class AveragePoolSpec(WithoutParameters):
    """The mean over the whole map."""

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.channels,)


Unit = ConvolutionSpec | BottleneckSpec | FireSpec | MaxPoolSpec | DropoutSpec | AveragePoolSpec | LinearSpec
