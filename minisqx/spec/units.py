"""The units of a network: names, shapes, parameters and multiply-adds, and no arrays."""

import math
from dataclasses import dataclass
from typing import ClassVar

# The order of the operations in a basic block, with and without batch norm.
BLOCK_ORDERS = ("conv-act-bn", "conv-bn-act")
WITHOUT_NORM = "conv-act"

Size = tuple[int, int]


def pair(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def stride_text(stride: Size) -> str:
    """A stride as written after a kernel, such as " / 2"; empty for 1."""
    return "" if stride == (1, 1) else f" / {stride[0]}" if stride[0] == stride[1] else f" / {pair(stride)}"


class Unit:
    """One step of a network, from one tensor to the next. A unit is a frozen dataclass with this base.

    category: the name of its sort in a picture's legend. has_kinks: whether its output has places without a derivative.
    """

    name: str
    category: ClassVar[str]
    has_kinks: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return self.category

    @property
    def explanation(self) -> str:
        """What it does with each value, for a unit without parameters."""
        return ""

    @property
    def layers(self) -> tuple["ConvolutionSpec | LinearSpec", ...]:
        """Its layers with parameters."""
        return ()

    @property
    def groups(self) -> tuple[tuple["ConvolutionSpec", ...], ...]:
        """Its convolutions; those of one group are computed together."""
        return ()

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(C, H, W) or (C,)."""
        raise NotImplementedError

    def size_after(self, input_size: Size) -> Size:
        """(height, width) of the output for an input of this size."""
        return input_size


@dataclass(frozen=True)
class ConvolutionSpec(Unit):
    """A basic block: convolution with bias, activation, batch norm.

    kernel, stride, padding, input_size: (height, width). activation: one of `activations.ACTIVATIONS`, or None. order: one of
    `BLOCK_ORDERS`, or `WITHOUT_NORM`.
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

    category = "convolution"

    @property
    def title(self) -> str:
        return f"{pair(self.kernel)} convolution{stride_text(self.stride)}"

    def size_after(self, input_size: Size) -> Size:
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
        """Multiply-adds of the convolution per image; bias, activation and batch norm are not counted, as usual."""
        return math.prod(self.weight_shape) * math.prod(self.output_size)

    @property
    def layers(self) -> tuple["ConvolutionSpec", ...]:
        return (self,)

    @property
    def groups(self) -> tuple[tuple["ConvolutionSpec", ...], ...]:
        return ((self,),)


@dataclass(frozen=True)
class BottleneckSpec(Unit):
    """A bottleneck: f(main path + shortcut), f the activation.

    main: five basic blocks, one after the other. shortcut: a basic block where the shape changes, else None for the identity.
    sampled: whether all readers of the sum are 1x1 convolutions with stride 2. They skip every other row and column, so the sum
    is not computed there, see `kernels/sampling.py`.
    """

    name: str
    main: tuple[ConvolutionSpec, ...]
    shortcut: ConvolutionSpec | None
    activation: str = "elu"
    sampled: bool = False

    category = "bottleneck"

    @property
    def title(self) -> str:
        stride = self.main[0].stride
        return "bottleneck" if stride == (1, 1) else f"bottleneck, stride {stride[0]}"

    @property
    def layers(self) -> tuple[ConvolutionSpec, ...]:
        """All basic blocks, the main path before the shortcut."""
        return self.main if self.shortcut is None else (*self.main, self.shortcut)

    @property
    def groups(self) -> tuple[tuple[ConvolutionSpec, ...], ...]:
        """Convolutions that are computed together: the first and the shortcut, which read the same tensor; all others alone."""
        first, *rest = self.main
        return ((first,) if self.shortcut is None else (first, self.shortcut), *((layer,) for layer in rest))

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.main[-1].output_shape


@dataclass(frozen=True)
class FireSpec(Unit):
    """SqueezeNet's fire module: `squeeze` (1x1), then the channels of `expand1` (1x1) and `expand3` (3x3), concatenated."""

    name: str
    squeeze: ConvolutionSpec
    expand1: ConvolutionSpec
    expand3: ConvolutionSpec

    category = "fire module"

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
class LinearSpec(Unit):
    """The classifier: a fully connected layer on the averages of the channels."""

    name: str
    in_features: int
    out_features: int

    category = "fully connected"

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


@dataclass(frozen=True)
class ParameterFreeSpec(Unit):
    """A unit without parameters. channels, input_size: of its input."""

    name: str
    channels: int
    input_size: Size

    @property
    def output_size(self) -> Size:
        return self.size_after(self.input_size)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.channels, *self.output_size)


@dataclass(frozen=True)
class MaxPoolSpec(ParameterFreeSpec):
    """Max pooling over windows of kernel x kernel pixels, `stride` apart, in ceil mode: windows may reach beyond the map."""

    kernel: int = 3
    stride: int = 2

    category = "pool"
    has_kinks = True

    @property
    def title(self) -> str:
        return f"max pool {self.kernel}x{self.kernel} / {self.stride}"

    @property
    def explanation(self) -> str:
        return f"the maximum of each {self.kernel}x{self.kernel} window, every {self.stride} pixels"

    def size_after(self, input_size: Size) -> Size:
        height, width = (-(-(size - self.kernel) // self.stride) + 1 for size in input_size)
        return height, width


@dataclass(frozen=True)
class DropoutSpec(ParameterFreeSpec):
    """Dropout: in training, each element is zeroed with this probability."""

    probability: float = 0.0

    category = "dropout"

    @property
    def title(self) -> str:
        return f"dropout {self.probability:g}"

    @property
    def explanation(self) -> str:
        return f"in training, zeroes each element with probability {self.probability:g}"


@dataclass(frozen=True)
class AveragePoolSpec(ParameterFreeSpec):
    """Global average pooling: (C, H, W) to (C,)."""

    category = "pool"

    @property
    def title(self) -> str:
        return f"average pool {pair(self.input_size)}"

    @property
    def explanation(self) -> str:
        return f"the mean of each channel over {self.input_size[0]} x {self.input_size[1]} pixels"

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.channels,)
