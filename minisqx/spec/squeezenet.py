"""SqueezeNet 1.0 and 1.1: fire modules, max pooling, a convolution as the classifier, no batch norm.

Source: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size", Table 1, and the
authors' version 1.1. Sizes and the pools' ceil mode follow the public PyTorch implementation.
"""

from dataclasses import dataclass, field
from functools import cached_property

from minisqx.checks import require
from minisqx.spec import (
    WITHOUT_NORM,
    AveragePoolSpec,
    ConvolutionSpec,
    DropoutSpec,
    FireSpec,
    MaxPoolSpec,
    NetworkSpec,
    Size,
    Unit,
)

# (channels, kernel) of the first convolution, then (squeeze, expand1 = expand3) for a fire module and None for a max pool.
VERSIONS: dict[str, tuple[tuple[int, int], tuple[tuple[int, int] | None, ...]]] = {
    "1.0": (
        (96, 7),
        (None, (16, 64), (16, 64), (32, 128), None, (32, 128), (48, 192), (48, 192), (64, 256), None, (64, 256)),
    ),
    "1.1": (
        (64, 3),
        (None, (16, 64), (16, 64), None, (32, 128), (32, 128), None, (48, 192), (48, 192), (64, 256), (64, 256)),
    ),
}


@dataclass(frozen=True)
class SqueezeNetSpec(NetworkSpec):
    """SqueezeNet. version: "1.0" or "1.1". dropout: before the classifier."""

    version: str = "1.1"
    dropout: float = field(default=0.5, kw_only=True)

    FAMILY = "squeezenet"

    @property
    def min_side(self) -> int:
        return 21 if self.version == "1.0" else 17

    @property
    def name(self) -> str:
        return f"squeezenet-v{self.version}"

    @property
    def larger_chunks(self) -> int:
        # The last maps have one pixel, while every chunk has its own gradients of 700,000 weights.
        return 4

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        (channels, kernel), rest = VERSIONS[self.version]
        stem = _convolution("stem", 3, channels, kernel, self.input_size, stride=2)
        units: list[Unit] = [stem]
        size, fires, pools = stem.output_size, 0, 0
        for entry in rest:
            if entry is None:
                pools += 1
                pool = MaxPoolSpec(f"pool{pools}", channels, size)
                units.append(pool)
                size = pool.output_size
            else:
                fires += 1
                squeezed, expanded = entry
                name = f"fire{fires + 1}"  # the paper counts the stem as layer 1
                squeeze = _convolution(f"{name}.squeeze", channels, squeezed, 1, size)
                expand1 = _convolution(f"{name}.expand1", squeezed, expanded, 1, size)
                expand3 = _convolution(f"{name}.expand3", squeezed, expanded, 3, size, padding=1)
                units.append(FireSpec(name, squeeze, expand1, expand3))
                channels = 2 * expanded
        units.append(DropoutSpec("dropout", channels, size, self.dropout))
        units.append(_convolution("classifier", channels, self.num_classes, 1, size))
        return (*units, AveragePoolSpec("pool", self.num_classes, size))

    def _check_options(self) -> None:
        super()._check_options()
        if isinstance(self.version, float):
            object.__setattr__(self, "version", str(self.version))
        require(self.version in tuple(VERSIONS), "version", self.version, "one of " + ", ".join(VERSIONS))


def _convolution(name: str, inputs: int, outputs: int, kernel: int, size: Size, stride=1, padding=0) -> ConvolutionSpec:
    sides = {"kernel": (kernel, kernel), "stride": (stride, stride), "padding": (padding, padding)}
    return ConvolutionSpec(name, inputs, outputs, input_size=size, activation="relu", order=WITHOUT_NORM, **sides)
