"""What a network is: names, shapes, parameters and multiply-adds, without one array.

A network is a row of units: basic blocks, bottlenecks, fire modules, pools, dropout, a linear layer. `summary`, `paper` and
`draw` are computed from here alone, so they cost nothing; `network` and `plan` build their layers from the same description. The
families are in `squeezenext` and `squeezenet`, the networks that have names in `zoo`.
"""

import math
from dataclasses import asdict, dataclass

from minisqx.checks import is_number, is_whole, require, settle
from minisqx.errors import OptionError
from minisqx.limits import size_text

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
class _WithoutParameters:
    """A unit that has nothing to learn. channels, input_size: of what it reads."""

    name: str
    channels: int
    input_size: Size

    layers = groups = ()

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.channels, *self.input_size)


@dataclass(frozen=True)
class MaxPoolSpec(_WithoutParameters):
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
class DropoutSpec(_WithoutParameters):
    """Zeroes each element with `probability` in training."""

    probability: float = 0.0


@dataclass(frozen=True)
class AveragePoolSpec(_WithoutParameters):
    """The mean over the whole map."""

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (self.channels,)


Unit = ConvolutionSpec | BottleneckSpec | FireSpec | MaxPoolSpec | DropoutSpec | AveragePoolSpec | LinearSpec


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """What every network's description has; a family adds its options and says what `units` follow from them.

    num_classes: classes to tell apart. dropout: probability that an element is dropped in training, in [0, 1).
    input_size: (height, width) of the image in pixels.
    """

    num_classes: int = 10
    dropout: float = 0.3
    input_size: Size = (32, 32)

    FAMILY = ""

    @property
    def least_side(self) -> int:
        """Side in pixels of the smallest square image."""
        return 8

    def __post_init__(self) -> None:
        settle(self)
        self._check_options()
        object.__setattr__(self, "dropout", float(self.dropout))
        object.__setattr__(self, "input_size", tuple(self.input_size))
        self._settle()
        for unit in self.units:
            for part in unit.layers or (unit,):
                self._check_part(part)

    def _settle(self) -> None:
        """Brings a family's own options to their types."""

    def _check_part(self, part) -> None:
        if isinstance(part, ConvolutionSpec) and min(part.in_channels, part.out_channels) < 1:
            width = self.width  # type: ignore[attr-defined]  # the family without one never gets here
            raise OptionError(f"width {width!r} leaves {part.name} without channels: choose a width of 0.125 or more")
        if min(part.output_shape) < 1:
            raise OptionError(
                f"input size {size_text(*self.input_size)} is too small for the network's strides:"
                f" choose at least {self.least_side} x {self.least_side} pixels"
            )

    @property
    def larger_chunks(self) -> int:
        """How many times as many images as usual a chunk of a batch has (`Layout.of_batch`): more where the maps are small."""
        return 1

    def to_dict(self) -> dict:
        """Plain JSON types: the family, and one entry an option."""
        options = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        return {"family": self.FAMILY, **options}

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def units(self) -> tuple[Unit, ...]:
        """The network, unit after unit, in the order of the forward pass."""
        raise NotImplementedError

    @property
    def layers(self) -> tuple[ConvolutionSpec | LinearSpec, ...]:
        """Every layer that has parameters, in the order of the forward pass, a bottleneck's main path before its shortcut."""
        return tuple(layer for unit in self.units for layer in unit.layers)

    @property
    def convolutions(self) -> tuple[ConvolutionSpec, ...]:
        """Every basic block, in the same order."""
        return tuple(layer for layer in self.layers if isinstance(layer, ConvolutionSpec))

    @property
    def groups(self) -> tuple[tuple[ConvolutionSpec, ...], ...]:
        """The basic blocks that run as one, in the order of the forward pass."""
        return tuple(group for unit in self.units for group in unit.groups)

    def _shapes(self, kind: str) -> dict[str, tuple[int, ...]]:
        return {f"{layer.name}.{key}": shape for layer in self.layers for key, shape in getattr(layer, kind).items()}

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        return self._shapes("parameter_shapes")

    @property
    def buffer_shapes(self) -> dict[str, tuple[int, ...]]:
        return self._shapes("buffer_shapes")

    @property
    def parameters(self) -> int:
        """Trainable parameters."""
        return sum(map(math.prod, self.parameter_shapes.values()))

    @property
    def state_bytes(self) -> int:
        """Parameters and running statistics as float32, in bytes."""
        return 4 * (self.parameters + sum(map(math.prod, self.buffer_shapes.values())))

    @property
    def macs(self) -> int:
        """Multiply-adds of one image."""
        return sum(layer.macs for layer in self.layers)

    def _check_options(self) -> None:
        require(is_whole(self.num_classes, 1, 100_000), "num_classes", self.num_classes, "a whole number from 1 to 100000")
        require(
            is_number(self.dropout) and 0 <= self.dropout < 1,
            "dropout",
            self.dropout,
            "a probability from 0 up to, not including, 1",
        )
        size = self.input_size
        size_ok = isinstance(size, (tuple, list)) and len(size) == 2 and all(is_whole(s, 1, 4096) for s in size)
        require(size_ok, "input_size", size, "(height, width) in pixels, each from 1 to 4096")
