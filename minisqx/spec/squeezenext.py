"""SqueezeNext and Shallow SqueezeNext: one description, with options for all differences between the two.

Source: Duggal and El-Sharkawy, "Shallow SqueezeNext: An Efficient & Shallow DNN", Table VI and section III; Gholami et al.,
"SqueezeNext: Hardware-Aware Neural Network Design", with the authors' code for CIFAR-10. Channel counts are
truncated in two steps, as in that code: `int(width * C)`, then `int(int(width * C) * r)`.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from minisqx.checks import is_number, is_whole, require
from minisqx.spec import (
    BLOCK_ORDERS,
    AveragePoolSpec,
    BottleneckSpec,
    ConvolutionSpec,
    DropoutSpec,
    LinearSpec,
    NetworkSpec,
    Size,
    Unit,
)
from minisqx.spec.activations import ACTIVATIONS

STEM_CHANNELS = 64
STAGE_CHANNELS = (32, 64, 128, 256)
STAGE_STRIDES = (1, 2, 2, 2)
HEAD_CHANNELS = 128

SEPARABLE_ORDERS = ("1x3-3x1", "3x1-1x3")
# The options of SqueezeNext, and the blocks of its versions in the four stages.
BASELINE = {"activation": "relu", "block_order": "conv-bn-act", "stem_padding": 1, "dropout": 0.0}
VERSIONS = {"v1": (6, 6, 8, 1), "v5": (2, 4, 14, 1)}

# The paper's name -> (width, blocks). Where the paper is ambiguous, `paper` gives the reason for this choice.
SHALLOW_NETWORKS: dict[str, tuple[float, tuple[int, int, int, int]]] = {
    "shallow-06-0.125x": (0.125, (1, 1, 1, 1)),
    "shallow-06-0.2x": (0.2, (1, 1, 1, 1)),
    "shallow-14-0.2x": (0.2, (1, 2, 8, 1)),
    "shallow-06-0.3x": (0.3, (1, 1, 1, 1)),
    "shallow-06-0.4x": (0.4, (1, 1, 1, 1)),
    "shallow-06-0.5x": (0.5, (1, 1, 1, 1)),
    "shallow-06-0.575x": (0.575, (1, 1, 1, 1)),
    "shallow-06-0.6x": (0.6, (1, 1, 1, 1)),
    "shallow-12-0.4x": (0.4, (1, 2, 6, 1)),
    "shallow-09-0.5x": (0.5, (1, 1, 4, 1)),
    "shallow-07-0.7x": (0.7, (1, 1, 2, 1)),
    "shallow-14-0.5x": (0.5, (1, 2, 8, 1)),
    "shallow-06-0.8x": (0.8, (1, 1, 1, 1)),
    "shallow-06-0.9x": (0.9, (1, 1, 1, 1)),
    "shallow-06-1x": (1.0, (1, 1, 1, 1)),
    "shallow-14-1x": (1.0, (1, 2, 8, 1)),
    "shallow-21-0.7x": (0.7, (2, 2, 14, 1)),
    "shallow-06-1.5x": (1.5, (1, 1, 1, 1)),
    "shallow-06-2x": (2.0, (1, 1, 1, 1)),
    "shallow-14-2x": (2.0, (1, 2, 8, 1)),
}


@dataclass(frozen=True)
class SqueezeNextSpec(NetworkSpec):
    """SqueezeNext or Shallow SqueezeNext. docs/design.md explains the options and where the paper leaves them open.

    width: the width multiplier, over 0 and up to 16; 0.2 for the paper's 06-0.2x.
    blocks: bottlenecks in each of the four stages, 1 to 100 (the paper's "resolution multiplier").
    activation: one of `ACTIVATIONS`, such as "elu" (Shallow SqueezeNext) or "relu" (SqueezeNext).
    block_order: "conv-act-bn" (the paper's text) or "conv-bn-act" (public code, and SqueezeNext).
    stem_padding: 0 (Table VI) or 1 (public code, and SqueezeNext).
    separable_order: "1x3-3x1" (public code) or "3x1-1x3"; kernels are height x width.
    shortcut_activation: whether the shortcut's basic block has an activation.
    dropout: before the head.
    """

    width: float = 0.2
    blocks: tuple[int, int, int, int] = (1, 1, 1, 1)
    activation: str = "elu"
    block_order: str = "conv-act-bn"
    stem_padding: int = 0
    separable_order: str = "1x3-3x1"
    shortcut_activation: bool = True

    FAMILY = "squeezenext"

    def _convert_options(self) -> None:
        object.__setattr__(self, "width", float(self.width))
        object.__setattr__(self, "blocks", tuple(self.blocks))

    @property
    def name(self) -> str:
        """The paper's name: the sum of the blocks plus 2, and the width (`shallow-14-0.5x`, `squeezenext-23-1x-v5`).

        The name of a network that is not in the paper includes the blocks (`shallow-11-1341-0.5x`) unless they are 1,1,1,1.
        """
        depth, blocks, width = sum(self.blocks) + 2, "".join(map(str, self.blocks)), f"{self.width:g}x"
        if self.activation == "relu":
            version = next((name for name, counts in VERSIONS.items() if counts == self.blocks), blocks)
            return f"squeezenext-{depth:02d}-{width}-{version}"
        for name, known in SHALLOW_NETWORKS.items():
            if known == (self.width, self.blocks):
                return name
        return f"shallow-{depth:02d}-{width}" if self.blocks == (1, 1, 1, 1) else f"shallow-{depth:02d}-{blocks}-{width}"

    def _convolution(self, name: str, inputs: int, outputs: int, kernel: Size, stride: int, padding: Size, size: Size):
        steps = (stride, stride)
        return ConvolutionSpec(name, inputs, outputs, kernel, steps, padding, size, self.activation, self.block_order)

    @cached_property
    def stem(self) -> ConvolutionSpec:
        padding = (self.stem_padding, self.stem_padding)
        return self._convolution("stem", 3, int(self.width * STEM_CHANNELS), (3, 3), 1, padding, self.input_size)

    @cached_property
    def bottlenecks(self) -> tuple[BottleneckSpec, ...]:
        found: list[BottleneckSpec] = []
        channels, size = self.stem.out_channels, self.stem.output_size
        for stage, (count, base, stride) in enumerate(zip(self.blocks, STAGE_CHANNELS, STAGE_STRIDES), start=1):
            for index in range(1, count + 1):
                steps = stride if index == 1 else 1
                if steps == 2:
                    # The next bottleneck reads this one's sum through 1x1 convolutions with stride 2 alone.
                    found[-1] = replace(found[-1], sampled=True)
                found.append(self._bottleneck(f"stage{stage}.block{index}", channels, int(self.width * base), steps, size))
                channels, size = found[-1].main[-1].out_channels, found[-1].main[-1].output_size
        return tuple(found)

    def _bottleneck(self, name: str, inputs: int, outputs: int, stride: int, size: Size) -> BottleneckSpec:
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
            main.append(self._convolution(f"{name}.conv{number}", i, o, kernel, step, padding, at))
            at = main[-1].output_size
        shortcut = None
        if stride == 2 or inputs != outputs:
            shortcut = self._convolution(f"{name}.shortcut", inputs, outputs, (1, 1), stride, (0, 0), size)
            if not self.shortcut_activation:
                shortcut = replace(shortcut, activation=None)
        return BottleneckSpec(name, tuple(main), shortcut, self.activation)

    @cached_property
    def head(self) -> ConvolutionSpec:
        last = self.bottlenecks[-1].main[-1]
        return self._convolution("head", last.out_channels, int(self.width * HEAD_CHANNELS), (1, 1), 1, (0, 0), last.output_size)

    @cached_property
    def classifier(self) -> LinearSpec:
        return LinearSpec("classifier", self.head.out_channels, self.num_classes)

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        head = self.head
        dropout = DropoutSpec("dropout", head.in_channels, head.input_size, self.dropout)
        pool = AveragePoolSpec("pool", head.out_channels, head.output_size)
        return (self.stem, *self.bottlenecks, dropout, head, pool, self.classifier)

    def _check_options(self) -> None:
        super()._check_options()
        require(is_number(self.width) and 0 < self.width <= 16, "width", self.width, "a number over 0 and up to 16, such as 0.2")
        blocks = self.blocks
        blocks_ok = isinstance(blocks, (tuple, list)) and len(blocks) == 4 and all(is_whole(b, 1, 100) for b in blocks)
        require(blocks_ok, "blocks", blocks, "four whole numbers from 1 to 100, such as 1,1,1,1")
        for name, known in (
            ("activation", ACTIVATIONS),
            ("block_order", BLOCK_ORDERS),
            ("separable_order", SEPARABLE_ORDERS),
        ):
            require(getattr(self, name) in known, name, getattr(self, name), "one of " + ", ".join(known))
        require(is_whole(self.stem_padding, 0, 1), "stem_padding", self.stem_padding, "0 or 1")
        require(isinstance(self.shortcut_activation, bool), "shortcut_activation", self.shortcut_activation, "True or False")
