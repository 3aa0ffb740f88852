"""What a network is: names, shapes, parameters and multiply-adds, without one array.

`summary` is computed from here alone, so it costs nothing; `network` builds its layers from the same description.

Source: Duggal and El-Sharkawy, "Shallow SqueezeNext: An Efficient & Shallow DNN", Table VI and section III. Channel
counts are cut as in the authors' code, nested: `int(width * C)`, then `int(int(width * C) * r)`.
"""

import math
from dataclasses import asdict, dataclass, fields
from functools import cached_property

from minisqx.errors import OptionError

STEM_CHANNELS = 64
STAGE_CHANNELS = (32, 64, 128, 256)
STAGE_STRIDES = (1, 2, 2, 2)
HEAD_CHANNELS = 128

BLOCK_ORDERS = ("conv-elu-bn", "conv-bn-elu")
SEPARABLE_ORDERS = ("1x3-3x1", "3x1-1x3")


@dataclass(frozen=True)
class ConvolutionSpec:
    """One basic block: a convolution with bias, its activation and its batch norm.

    `kernel`, `stride`, `padding`, `input_size` and `output_size` are (height, width) pairs.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    input_size: tuple[int, int]
    activation: bool = True

    def size_after(self, input_size: tuple[int, int]) -> tuple[int, int]:
        """The output's (height, width) for an input of another size."""
        height, width = (
            (size + 2 * padding - kernel) // stride + 1
            for size, padding, kernel, stride in zip(input_size, self.padding, self.kernel, self.stride)
        )
        return height, width

    @property
    def output_size(self) -> tuple[int, int]:
        return self.size_after(self.input_size)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.out_channels, self.in_channels, *self.kernel)

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        channels = (self.out_channels,)
        return {"weight": self.weight_shape, "bias": channels, "gamma": channels, "beta": channels}

    @property
    def buffer_shapes(self) -> dict[str, tuple[int, ...]]:
        return {"running_mean": (self.out_channels,), "running_var": (self.out_channels,)}

    @property
    def macs(self) -> int:
        """Multiply-adds of one image: the convolution's alone, as the field counts them."""
        return math.prod(self.weight_shape) * math.prod(self.output_size)


@dataclass(frozen=True)
class BottleneckSpec:
    """Five basic blocks in a row, and a shortcut where the shape changes (`None`: the input itself)."""

    name: str
    main: tuple[ConvolutionSpec, ...]
    shortcut: ConvolutionSpec | None

    @property
    def convolutions(self) -> tuple[ConvolutionSpec, ...]:
        return self.main if self.shortcut is None else (*self.main, self.shortcut)


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


@dataclass(frozen=True)
class NetworkSpec:
    """The options that make one network. What each means, and which the paper leaves open, is in `docs/design.md`.

    width: the width multiplier, 0.2 for the paper's 06-0.2x.
    blocks: bottlenecks in each of the four stages (the paper's "resolution multiplier").
    dropout: probability that an element is dropped before the head, in [0, 1).
    input_size: (height, width) of the image in pixels.
    block_order: "conv-elu-bn" (the paper's text) or "conv-bn-elu" (public code).
    stem_padding: 0 (Table VI) or 1 (public code).
    separable_order: "1x3-3x1" (public code) or "3x1-1x3"; kernels are height x width.
    shortcut_activation: whether the shortcut's basic block has its ELU.
    """

    width: float = 0.2
    blocks: tuple[int, int, int, int] = (1, 1, 1, 1)
    num_classes: int = 10
    dropout: float = 0.3
    input_size: tuple[int, int] = (32, 32)
    block_order: str = "conv-elu-bn"
    stem_padding: int = 0
    separable_order: str = "1x3-3x1"
    shortcut_activation: bool = True

    def __post_init__(self) -> None:
        _check_options(self)
        object.__setattr__(self, "width", float(self.width))
        object.__setattr__(self, "blocks", tuple(int(b) for b in self.blocks))
        object.__setattr__(self, "num_classes", int(self.num_classes))
        object.__setattr__(self, "dropout", float(self.dropout))
        object.__setattr__(self, "input_size", tuple(int(s) for s in self.input_size))
        object.__setattr__(self, "stem_padding", int(self.stem_padding))
        object.__setattr__(self, "shortcut_activation", bool(self.shortcut_activation))
        for layer in self.convolutions:
            if min(layer.in_channels, layer.out_channels) < 1:
                raise OptionError(f"width {self.width:g} leaves {layer.name} without channels: choose a width of 0.125 or more")
            if min(layer.output_size) < 1:
                raise OptionError(
                    f"input size {self.input_size[0]} x {self.input_size[1]} is too small for the network's strides:"
                    " choose at least 8 x 8 pixels"
                )

    @classmethod
    def from_dict(cls, options: dict) -> "NetworkSpec":
        """The inverse of `to_dict`; unknown or missing names are refused."""
        names = {field.name for field in fields(cls)}
        if set(options) != names:
            raise OptionError(f"network description has the entries {sorted(options)}, expected {sorted(names)}")
        return cls(**options)

    def to_dict(self) -> dict:
        """Plain JSON types, one entry an option."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @property
    def name(self) -> str:
        """The paper's name: the sum of the blocks plus 2, then the width (`shallow-06-0.2x`)."""
        plain = self.blocks == (1, 1, 1, 1)
        detail = "" if plain else "-" + "".join(map(str, self.blocks))
        return f"shallow-{sum(self.blocks) + 2:02d}{detail}-{self.width:g}x"

    @cached_property
    def stem(self) -> ConvolutionSpec:
        padding = (self.stem_padding, self.stem_padding)
        return ConvolutionSpec("stem", 3, int(self.width * STEM_CHANNELS), (3, 3), (1, 1), padding, self.input_size)

    @cached_property
    def bottlenecks(self) -> tuple[BottleneckSpec, ...]:
        found = []
        channels, size = self.stem.out_channels, self.stem.output_size
        for stage, (count, base, stride) in enumerate(zip(self.blocks, STAGE_CHANNELS, STAGE_STRIDES), start=1):
            for index in range(1, count + 1):
                block = self._bottleneck(
                    f"stage{stage}.block{index}", channels, int(self.width * base), stride if index == 1 else 1, size
                )
                found.append(block)
                channels, size = block.main[-1].out_channels, block.main[-1].output_size
        return tuple(found)

    def _bottleneck(self, name: str, inputs: int, outputs: int, stride: int, size: tuple[int, int]) -> BottleneckSpec:
        if stride == 2:
            reduction = 1.0
        elif inputs > outputs:
            reduction = 0.25
        else:
            reduction = 0.5
        squeezed, narrow = int(inputs * reduction), int(inputs * reduction * 0.5)
        separable = [((1, 3), (0, 1)), ((3, 1), (1, 0))]
        if self.separable_order == "3x1-1x3":
            separable.reverse()
        (kernel3, padding3), (kernel4, padding4) = separable
        plan = (
            (inputs, squeezed, (1, 1), stride, (0, 0)),
            (squeezed, narrow, (1, 1), 1, (0, 0)),
            (narrow, squeezed, kernel3, 1, padding3),
            (squeezed, squeezed, kernel4, 1, padding4),
            (squeezed, outputs, (1, 1), 1, (0, 0)),
        )
        main, at = [], size
        for number, (i, o, kernel, step, padding) in enumerate(plan, start=1):
            main.append(ConvolutionSpec(f"{name}.conv{number}", i, o, kernel, (step, step), padding, at))
            at = main[-1].output_size
        shortcut = None
        if stride == 2 or inputs != outputs:
            shortcut = ConvolutionSpec(
                f"{name}.shortcut", inputs, outputs, (1, 1), (stride, stride), (0, 0), size, self.shortcut_activation
            )
        return BottleneckSpec(name, tuple(main), shortcut)

    @cached_property
    def sampled(self) -> tuple[bool, ...]:
        """For each bottleneck, whether the next one reads only every other row and column of it (stride 2, kernels of 1x1).

        What lies between them is then never computed, see `kernels/sampling.py`.
        """
        strides = [block.main[0].stride for block in self.bottlenecks[1:]]
        return (*(stride == (2, 2) for stride in strides), False)

    @cached_property
    def head(self) -> ConvolutionSpec:
        last = self.bottlenecks[-1].main[-1]
        return ConvolutionSpec(
            "head", last.out_channels, int(self.width * HEAD_CHANNELS), (1, 1), (1, 1), (0, 0), last.output_size
        )

    @cached_property
    def classifier(self) -> LinearSpec:
        return LinearSpec("classifier", self.head.out_channels, self.num_classes)

    @property
    def convolutions(self) -> tuple[ConvolutionSpec, ...]:
        """Every basic block in the order of the forward pass, a block's main path before its shortcut."""
        inner = (layer for block in self.bottlenecks for layer in block.convolutions)
        return (self.stem, *inner, self.head)

    @property
    def groups(self) -> tuple[tuple[ConvolutionSpec, ...], ...]:
        """Convolutions that run as one: a bottleneck's first with its shortcut (they read the same tensor); all others alone."""
        groups: list[tuple[ConvolutionSpec, ...]] = [(self.stem,)]
        for block in self.bottlenecks:
            first = block.main[0]
            groups.append((first,) if block.shortcut is None else (first, block.shortcut))
            groups += [(convolution,) for convolution in block.main[1:]]
        return (*groups, (self.head,))

    @property
    def layers(self) -> tuple[ConvolutionSpec | LinearSpec, ...]:
        """Every layer that has parameters, in the order of the forward pass."""
        return (*self.convolutions, self.classifier)

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


def _check_options(spec: NetworkSpec) -> None:
    def require(ok: bool, what: str, given: object, expected: str) -> None:
        if not ok:
            raise OptionError(f"{what} {given!r}: expected {expected}")

    def is_integer(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    def is_number(value: object) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

    require(is_number(spec.width) and 0 < spec.width <= 16, "width", spec.width, "a number over 0 and up to 16, such as 0.2")
    blocks = spec.blocks
    blocks_ok = isinstance(blocks, (tuple, list)) and len(blocks) == 4 and all(is_integer(b) and 1 <= b <= 100 for b in blocks)
    require(blocks_ok, "blocks", blocks, "four whole numbers from 1 to 100, such as 1,1,1,1")
    require(
        is_integer(spec.num_classes) and 1 <= spec.num_classes <= 100_000,
        "num_classes",
        spec.num_classes,
        "a whole number from 1 to 100000",
    )
    require(
        is_number(spec.dropout) and 0 <= spec.dropout < 1, "dropout", spec.dropout, "a probability from 0 up to, not including, 1"
    )
    size = spec.input_size
    size_ok = isinstance(size, (tuple, list)) and len(size) == 2 and all(is_integer(s) and 1 <= s <= 4096 for s in size)
    require(size_ok, "input_size", size, "(height, width) in pixels, each from 1 to 4096")
    require(spec.block_order in BLOCK_ORDERS, "block_order", spec.block_order, "one of " + ", ".join(BLOCK_ORDERS))
    require(is_integer(spec.stem_padding) and spec.stem_padding in (0, 1), "stem_padding", spec.stem_padding, "0 or 1")
    require(
        spec.separable_order in SEPARABLE_ORDERS, "separable_order", spec.separable_order, "one of " + ", ".join(SEPARABLE_ORDERS)
    )
    require(isinstance(spec.shortcut_activation, bool), "shortcut_activation", spec.shortcut_activation, "True or False")
